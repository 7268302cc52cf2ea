"""`openseek warm`: compile the kernels of the data steps before the first run does."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import openseek

LAST = "tokenise"
"""The last step that has compiled code."""


def warm() -> None:
    """Compile the data steps' kernels into numba's cache, with a run over a little text.

    A fresh installation otherwise does so in its first run, in every worker at once.
    """
    from openseek.compute import shutdown
    from openseek.config.pipeline import PipelineConfig
    from openseek.pipeline.dag import select
    from openseek.pipeline.run import Pipeline, Ref

    started = time.monotonic()
    for name in ("OPENSEEK_STORE", "RAY_ADDRESS"):
        os.environ.pop(name, None)  # this machine, and nothing of it in anybody's store
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(PipelineConfig.model_validate(_little(Path(folder))))
        refs: dict[str, Ref] = {}
        try:
            for node in select(pipeline.nodes, (LAST,)):
                upstream = {i.node: refs[i.node] for i in node.inputs.values()}
                refs[node.name] = pipeline.execute(node, upstream).ref
        finally:
            shutdown()
    print(f"compiled in {time.monotonic() - started:.0f} s")


def _little(folder: Path) -> dict[str, Any]:
    """Describe a run over Python's library and this package's word lists."""
    package = Path(openseek.__file__).parent
    stdlib = {
        "installed": ["stdlib"],
        "files": ["*.py"],
        "max_bytes": "200kB",
        "license": "PSF-2.0",
    }
    docs = {**stdlib, "text": {"extract": "docstrings", "min_chars": 200}, "lang": "en"}
    items = folder / "items"
    items.mkdir()
    (items / "arc_easy.jsonl").write_text(
        '{"id": "1", "query": "Which of these does a reader of shards give one by one?", '
        '"choices": ["its rows", "its keys"], "gold": 0}\n'
    )
    stage = {
        "tokens": "10k",
        "mixture": {"preset": "openseek-curriculum"},
        "schedule": {"shape": "constant", "lr_peak": 1e-3},
    }
    return {
        "name": "warm",
        "runtime": {name: str(folder / name) for name in ("store", "scratch", "downloads")},
        "sources": [
            {**stdlib, "name": "code", "category": "code", "lang": "code"},
            {**docs, "name": "prose", "category": "foundation"},
            {**docs, "name": "mathematics", "category": "math"},
            {"name": "chinese", "path": str(package), "files": ["*.yaml"], "category": "foundation",
             "lang": "zh-Hans"},
        ],
        "lines": {"enabled": True},
        "substring": {"enabled": True},
        "tokenizer": {"vocab_size": 1024},
        "benchmarks": {"folder": str(items), "tasks": ["arc_easy"]},
        "stages": {"foundation": stage},
        "synthesis": {"teacher": {"kind": "extractive"}},
        "model": {"preset": "demo"},
    }  # fmt: skip
