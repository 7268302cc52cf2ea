"""Evaluate any checkpoint under a run's evaluation settings, as an artifact like any other.

A checkpoint is named by
    a folder                     ours or Hugging Face's, with config.json at the top or under model/
    RUN/STEP                     what a run's step made: demo/train-foundation, demo/export
    RUN/train-STAGE@STEPS        a checkpoint within a stage, while it is kept

The key holds the digest of the model's files, not where they lie: the same weights under the same
settings are evaluated once.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from openseek.artifacts import FolderFiles
from openseek.artifacts.files import FileRecord, FileSet, Json, sha256_file
from openseek.artifacts.keys import content_digest
from openseek.artifacts.store import Store
from openseek.errors import CorruptArtifactError, StoreError
from openseek.pipeline.dag import Input, Node
from openseek.pipeline.run import Outcome, Pipeline, Ref

MODEL, TOKENIZER = "checkpoint", "checkpoint-tokenizer"
"""Nodes that stand for a model and a tokenizer from outside of the DAG."""

WITHIN = re.compile(r"^(?P<run>[^/]+)/train-(?P<stage>[^@]+)@(?P<step>\d+)$")
OF_RUN = re.compile(r"^(?P<run>[a-z0-9][a-z0-9-]*)/(?P<node>[a-z0-9-]+)$")


@dataclass(frozen=True)
class Checkpoint:
    """A model to evaluate.

    Attributes:
        name: How it was named, made fit for a reference.
        folder: Its config.json and weights.
        tokenizer: Folder of its own tokenizer; None if it brings none.
    """

    name: str
    folder: Path
    tokenizer: Path | None = None

    @property
    def digest(self) -> str:
        """Digest of names and contents of the model's files."""
        return folder_digest(self.folder)


def folder_digest(folder: Path) -> str:
    """Digest names and contents of the files at the top of a folder."""
    files = (p for p in sorted(folder.iterdir()) if p.is_file() and p.name[0] not in "._")
    return content_digest(FileRecord(p.name, p.stat().st_size, sha256_file(p)) for p in files)


def resolve(store: Store, text: str, scratch: Path) -> Checkpoint:
    """Find a checkpoint by its name; files of a store are laid out under `scratch`.

    Raises:
        StoreError: There is no such folder, run, step or checkpoint.
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[-60:] or "model"
    if (path := Path(text)).is_dir():
        return _from_folder(name, path)
    if match := WITHIN.match(text):
        ref = _ref(store, match["run"], f"train-{match['stage']}", text)
        folder = f"steps/{ref['step']}/{ref['key']}"
        found = fetch_checkpoint(store, folder, int(match["step"]), scratch / name)
        return Checkpoint(name, found)
    if match := OF_RUN.match(text):
        ref = _ref(store, match["run"], match["node"], text)
        manifest = store.manifest(ref["step"], ref["key"])
        files = store.files(manifest)
        for record in files.records():
            target = scratch / name / record.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(files.local(record.name).resolve())
        return _from_folder(name, scratch / name)
    raise StoreError(
        f"no checkpoint {text!r}", where=store.root,
        mend="Name a folder, RUN/STEP (demo/train-foundation) or RUN/train-STAGE@STEPS.",
    )  # fmt: skip


def _from_folder(name: str, path: Path) -> Checkpoint:
    places = [path, path / "model", path / "hf"]
    folder = next((p for p in places if (p / "config.json").is_file()), None)
    if folder is None:
        raise StoreError(
            "no config.json",
            where=str(path),
            mend="Name a model's folder, or a step that makes one.",
        )
    own = (folder / "tokenizer.json").is_file() or (folder / "tokenizer_config.json").is_file()
    return Checkpoint(name, folder, folder if own else None)


def _ref(store: Store, run: str, node: str, text: str) -> Json:
    ref = store.read_ref(run, node)
    if ref is None:
        raise StoreError(
            f"no step {node!r} in run {run!r}", where=f"{store.root}, {text}",
            mend=f"Runs in this store: {', '.join(store.runs()) or 'none'}; `openseek status RUN` "
            "lists the steps.",
        )  # fmt: skip
    return ref


def fetch_checkpoint(store: Store, folder: str, step: int, target: Path) -> Path:
    """Copy the model of a checkpoint within a stage, and verify it.

    Args:
        store: The store.
        folder: The train step's folder in it.
        step: Optimizer steps.
        target: Where to put it.

    Raises:
        StoreError: The checkpoint is gone, or was removed while it was read.
    """
    source = f"{folder}/checkpoints/{step}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        commit = json.loads(store.backend.read(f"{source}/_COMMIT.json")[0])
        for name, (size, sha256) in commit["files"].items():
            if not name.startswith("model/"):
                continue
            path = target / name.removeprefix("model/")
            store.backend.get(f"{source}/{name}", path)
            if path.stat().st_size != size or sha256_file(path) != sha256:
                raise CorruptArtifactError(f"damaged checkpoint file {name!r}", where=source)
    except FileNotFoundError:
        raise StoreError(
            f"the checkpoint of step {step} is not kept", where=source,
            mend="Raise train.checkpoint.keep, or evaluate them while training goes on with "
            "evaluation.every_checkpoints.",
        ) from None  # fmt: skip
    return target


def upstream_of(pipeline: Pipeline, *, tokenizer: bool = True) -> dict[str, Ref]:
    """Read what the run's evaluations need beside the model from its references.

    Raises:
        StoreError: A step has not run.
    """
    wanted = ["split", "benchmarks", *(["tokenizer"] if tokenizer else [])]
    name = pipeline.config.name
    found = {node: _ref(pipeline.store, name, node, "evaluation") for node in wanted}
    return {n: Ref(n, r["step"], r["key"], r["content_digest"]) for n, r in found.items()}


def evaluate_checkpoint(
    pipeline: Pipeline, checkpoint: Checkpoint, upstream: Mapping[str, Ref], name: str = ""
) -> Outcome:
    """Evaluate a checkpoint, unless that was done; the result is an artifact of step `evaluate`.

    Args:
        pipeline: A run: its evaluation settings and its store.
        checkpoint: The model.
        upstream: References of split and benchmarks, and of tokenizer if the model brings none.
        name: Name of the run's reference to the result; empty: from the checkpoint's.
    """
    node = _node(pipeline, checkpoint, name or f"evaluate-{checkpoint.name}")
    digest = checkpoint.digest
    refs = {**upstream, MODEL: Ref(MODEL, "folder", digest, digest)}
    given: dict[str, FileSet] = {"model": FolderFiles(checkpoint.folder)}
    if checkpoint.tokenizer is not None:
        own = folder_digest(checkpoint.tokenizer)
        refs[TOKENIZER] = Ref(TOKENIZER, "folder", own, own)
        given["tokenizer"] = FolderFiles(checkpoint.tokenizer)
    return pipeline.execute(node, refs, given)


def _node(pipeline: Pipeline, checkpoint: Checkpoint, name: str) -> Node:
    node = next(n for n in pipeline.nodes if n.kind == "evaluate")
    inputs = {**node.inputs, "model": Input(MODEL)}
    if checkpoint.tokenizer is not None:
        inputs["tokenizer"] = Input(TOKENIZER)
    return replace(node, name=name, inputs=inputs)
