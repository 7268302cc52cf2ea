"""Prefect flows: what runs after what.

`pretrain` is the whole DAG; `prepare_data`, `label_quality`, `train_stage` and `evaluate` stop
earlier; `gc_store` tidies up. All of them share `engine`, and whatever one has finished the others
find cached.
"""
