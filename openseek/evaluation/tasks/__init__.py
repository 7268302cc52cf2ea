"""The benchmarks, one file each: a `Benchmark` that says where rows come from and what they ask.

    benchmark.py   the types, and the checks that every row goes through
    formats.py     formats and columns that several benchmarks share
    {name}.py      one benchmark, or a small family (arc, mmlu, mmlu_pro, chinese, mathematics)
    subjects.yaml  the Chinese names of subjects

To add one: write its file, name it in `openseek.evaluation.catalog` and in
`openseek.config.evaluation`, and give a golden prompt in tests/unit/evaluation/test_tasks.py.
"""
