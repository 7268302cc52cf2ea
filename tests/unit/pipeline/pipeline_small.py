"""Steps of a few bytes, a configuration of a few words, and helpers to run the DAG on them."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

from openseek.artifacts import StepContext
from openseek.config.load import load_config
from openseek.config.pipeline import PipelineConfig
from openseek.errors import DataError
from openseek.pipeline.run import Outcome, Pipeline, Ref

ROOT = Path(__file__).parents[3]
TINY = ROOT / "configs" / "tiny.yaml"

Json = dict[str, Any]
calls: list[str] = []


def config(home: Path, *overrides: str) -> PipelineConfig:
    """The tiny configuration on one text file and two benchmark items in `home`."""
    (home / "text").mkdir(exist_ok=True)
    (home / "items").mkdir(exist_ok=True)
    (home / "text" / "a.txt").write_text("A file of a few words.")
    item = '{"query": "1 + 1 =", "choices": ["1", "2"], "gold": 1}\n'
    for task in ("hellaswag", "arc_easy"):
        (home / "items" / f"{task}.jsonl").write_text(item)
    source = f"{{name: a, path: ['{home}/text'], category: foundation, lang: en, license: MIT}}"
    fixed = [
        f"sources=[{source}]",
        f"benchmarks.folder={home}/items",
        f"runtime.store={home}/store",
        f"runtime.scratch={home}/scratch",
        f"runtime.downloads={home}/downloads",
    ]
    return load_config(TINY, [*fixed, *overrides])


def write(ctx: StepContext[Any]) -> Json:
    """Write the names of the inputs' files, in one shard."""
    calls.append("write")
    path = ctx.out.scratch / "out.txt"
    path.write_text(repr({k: [r.name for r in v.records()] for k, v in ctx.inputs.items()}))
    ctx.out.commit_shard("000000", {"train/out.txt": path})
    ctx.progress(1, 1, "shards", words=5)
    return {"documents_in": 1, "documents_out": 1}


def bad_data(ctx: StepContext[Any]) -> Json:
    """Fail when half of the output is written."""
    write(ctx)
    raise DataError("row 7 has no text", where="a.jsonl", mend="Mend the row.")


def defect(ctx: StepContext[Any]) -> Json:
    """Fail as no step should."""
    raise ValueError("a defect of the step")


def full_disk(ctx: StepContext[Any]) -> Json:
    """Find the disk full."""
    raise OSError(errno.ENOSPC, "No space left on device", "shard.parquet")


def forbidden(ctx: StepContext[Any]) -> Json:
    """Find a folder that cannot be written."""
    raise PermissionError(errno.EACCES, "Permission denied", "locked")


def unreachable(ctx: StepContext[Any]) -> Json:
    """Find nobody at the other end."""
    raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


def execute(
    pipeline: Pipeline, *names: str, function: str = "write", refs: dict[str, Ref] | None = None
) -> dict[str, Outcome]:
    """Execute nodes in order with a step function of this file."""
    known = {} if refs is None else refs
    found = {}
    for name in names:
        node = replace(pipeline.node(name), function=f"pipeline_small:{function}")
        found[name] = pipeline.execute(node, known)
        known[name] = found[name].ref
    return found


def keys(pipeline: Pipeline, *, propagate: bool) -> dict[str, str]:
    """Key of every node; its output's digest is its key, or the same whatever the key."""
    refs: dict[str, Ref] = {}
    for node in pipeline.nodes:
        key = pipeline.spec(node, refs).key
        refs[node.name] = Ref(node.name, node.kind, key, key if propagate else node.name)
    return {name: ref.key for name, ref in refs.items()}


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of last change of everything below a folder."""
    found = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns) for p in found}
