"""A step on plain folders: what its output folder was made from, and any input as documents."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SPEC = "_spec.json"
DOCUMENTS = "_documents"
"""Inside the output folder: the input as document shards, where it came in another form."""


def run_step(
    function: Any, config: Any, inputs: Mapping[str, Path], out: Path, workers: int
) -> dict[str, Any]:
    """Run a step function from folders to a folder; the same call again goes on where it stopped.

    Args:
        function: The step function.
        config: Its section.
        inputs: Logical name -> folder.
        out: Folder to write.
        workers: Shards at the same time; 0: one per CPU.

    Raises:
        DataError: An input folder is not there.
        ConfigError: `out` holds the output of another configuration or input.
    """
    from openseek.artifacts import FolderFiles, FolderOutput, StepContext
    from openseek.compute import shutdown
    from openseek.config.runtime import RuntimeConfig

    for path in inputs.values():
        require_folder(path)  # before the output folder is made
    claim(out, function, config, inputs)
    output = FolderOutput(out)
    context: StepContext[Any] = StepContext(
        config=config,
        inputs={name: FolderFiles(path) for name, path in inputs.items()},
        out=output,
        runtime=RuntimeConfig(workers=workers),
        progress=_progress,
    )
    try:
        metrics: dict[str, Any] = function(context)
    finally:
        shutdown()
    output.finish(metrics)
    return metrics


def claim(out: Path, function: Any, config: Any, inputs: Mapping[str, Path]) -> None:
    """Record what a folder is made from, so that shards of another run are never taken for its own.

    Raises:
        ConfigError: The folder holds something else.
    """
    from openseek.errors import ConfigError

    require_free(out)
    spec = _spec(function, config, inputs)
    before = _claimed(out)
    if before is not None and before != spec:
        changed = ", ".join(_differences(before, spec))
        raise ConfigError(
            f"it holds the output of another call ({changed})",
            where=str(out),
            mend="Give another folder, or remove this one.",
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / SPEC).write_text(json.dumps(spec, indent=1, ensure_ascii=False), encoding="utf-8")


def require_folder(path: Path) -> None:
    """Refuse an input that is no folder.

    Raises:
        DataError: There is no such folder.
    """
    from openseek.errors import DataError

    if path.is_file():
        raise DataError(
            "a file, not a folder", where=str(path), mend="Give the folder that it lies in."
        )
    if not path.is_dir():
        raise DataError("no such folder", where=str(path), mend="Check the path.")


def require_apart(path: Path, out: Path) -> None:
    """Refuse an output folder inside of the input: the next call would read it.

    Raises:
        ConfigError: `out` is the folder, or lies in it.
    """
    from openseek.errors import ConfigError

    if out.resolve().is_relative_to(path.resolve()):
        raise ConfigError(
            f"it would lie in the input {path}", where=str(out), mend="Give a folder beside it."
        )


def require_free(out: Path) -> None:
    """Refuse an output folder with files that no command of ours wrote.

    Raises:
        ConfigError: It is a file, or there are such files.
    """
    from openseek.errors import ConfigError

    if out.exists() and not out.is_dir():
        raise ConfigError("a file, not a folder", where=str(out), mend="Give a new folder.")
    found = {p.name for p in out.iterdir()} if out.is_dir() else set()
    if SPEC not in found and found - {DOCUMENTS}:
        raise ConfigError(
            f"the folder is not empty ({', '.join(sorted(found)[:3])})",
            where=str(out),
            mend="Give an empty or a new folder.",
        )


def _spec(function: Any, config: Any, inputs: Mapping[str, Path]) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(
        json.dumps(
            {
                "step": f"{function.__module__}:{function.__name__}",
                "config": config.identity(),
                "inputs": {name: _listing(path) for name, path in inputs.items()},
            }
        )
    )
    return spec


def _claimed(out: Path) -> dict[str, Any] | None:
    """Return what a folder was made from, None where nobody claimed it."""
    path = out / SPEC
    found: dict[str, Any] | None = None
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
    return found


def _listing(folder: Path) -> list[list[Any]]:
    from openseek.artifacts import FolderFiles

    return [[r.name, r.size] for r in FolderFiles(folder).records()]


def _differences(before: Any, after: Any, key: str = "") -> list[str]:
    """Name the keys in which two objects differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted({*before, *after})
        return [
            d
            for n in names
            if before.get(n) != after.get(n)
            for d in _differences(before.get(n), after.get(n), f"{key}.{n}" if key else n)
        ]
    return [key]


def as_documents(
    folder: Path, out: Path, *, text: str, category: str, lang: str, workers: int
) -> Path:
    """Return a folder of document shards: `folder` itself, or its rows read into `out`.

    Args:
        folder: Document shards, or files of any reader (JSONL, parquet, text; compressed or not).
        out: Output folder of the step; the shards go below it.
        text: Column with the text.
        category: Category of the documents.
        lang: Their language.
        workers: Parts read at the same time; 0: one per CPU.

    Raises:
        DataError: There is no such folder, or no file that can be read.
        ConfigError: The category is none, or the output folder cannot be used.
    """
    require_folder(folder)
    require_apart(folder, out)
    require_free(out)
    if _holds_documents(folder):
        return folder
    from openseek.config.load import validate_section
    from openseek.config.runtime import RuntimeConfig
    from openseek.config.sources import SourceConfig, SourceList
    from openseek.corpus.snapshot import pin
    from openseek.corpus.step import ingest

    name = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_") or "input"
    fields = {
        "name": name[:60],
        "path": str(folder.resolve()),
        "columns": {"text": [text]},
        "category": category,
        "lang": lang,
    }
    source = validate_section(SourceConfig, fields, "--text, --category, --lang")
    target = out / DOCUMENTS
    config = pin(SourceList(sources=(source,)), RuntimeConfig(workers=workers))
    if _claimed(out) is None and _claimed(target) not in (None, _spec(ingest, config, {})):
        shutil.rmtree(target)  # of a call that failed before it used them
    print(f"reading {folder} into {target}", file=sys.stderr)
    run_step(ingest, config, {}, target, workers)
    return target


def _holds_documents(folder: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from openseek.artifacts import FolderFiles
    from openseek.corpus.document import DOCUMENT_SCHEMA

    names = [r.name for r in FolderFiles(folder).records() if r.name.endswith(".parquet")]
    if not names:
        return False
    try:
        return set(DOCUMENT_SCHEMA.names) <= set(pq.read_schema(folder / names[0]).names)
    except (pa.ArrowException, OSError):
        return False


def _progress(done: float, total: float, unit: str = "", **info: Any) -> None:
    if sys.stderr.isatty():
        print(f"\r{done:g}/{total:g} {unit} ", end="", file=sys.stderr, flush=True)
