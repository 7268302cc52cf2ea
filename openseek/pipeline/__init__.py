"""The DAG, its execution against a store, and the plan of it; knows nothing of Prefect."""
