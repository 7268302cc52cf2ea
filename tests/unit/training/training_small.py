"""A small model, small inputs, and a way to run the step on them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
from safetensors.numpy import load_file, save_file

from openseek.artifacts import Spec, Store, folder
from openseek.artifacts.backend import LocalBackend
from openseek.artifacts.context import StepContext
from openseek.artifacts.files import sha256_file
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.config.training import TrainStepConfig
from openseek.mixture import StageData
from openseek.training.step import train

VOCAB = 64
SEQ_LEN = 32
STEPS = 12
BATCH = 4
MODEL: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "first_k_dense_replace": 1,
    "intermediate_size": 64, "moe_intermediate_size": 16, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_shared_experts": 1, "num_attention_heads": 2, "kv_lora_rank": 16,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 16, "initializer_range": 0.05,
    "max_position_embeddings": 64,
}  # fmt: skip


def write_inputs(
    root: Path, *, steps: int = STEPS, rare: int | None = None
) -> dict[str, FolderFiles]:
    """Write token shards and a mixture: two categories, each its own arithmetic over the tokens.

    Args:
        root: Where to write.
        steps: Optimizer steps the data lasts for.
        rare: A token put into the first document of `math` and nowhere else.
    """
    shards = []
    groups = []
    per_group = -(-steps * BATCH // 2)
    (root / "tokens").mkdir(parents=True)
    for number, (category, stride) in enumerate((("foundation", 3), ("math", 7))):
        n_tokens = per_group * SEQ_LEN + 1
        tokens = (np.arange(n_tokens) * stride + np.arange(n_tokens) // 50) % (VOCAB - 2) + 1
        if rare is not None and category == "math":
            tokens[5] = rare
        starts = np.arange(0, n_tokens, 20)
        ids = np.array([f"{category}-{i}".encode() for i in range(len(starts))])
        base = root / "tokens" / category
        np.save(f"{base}.tokens.npy", tokens.astype(np.uint16))
        np.save(f"{base}.starts.npy", starts.astype(np.int64))
        np.save(f"{base}.ids.npy", ids)
        shards.append(category)
        groups.append({
            "name": category, "category": category, "sequences": per_group,
            "available_sequences": per_group, "segments": [[number, 0, n_tokens]],
        })  # fmt: skip
    (root / "tokens" / "index.json").write_text(json.dumps({"vocab_size": VOCAB}))
    recipe = {
        "stage": "foundation", "n_sequences": 2 * per_group, "sequence_length": SEQ_LEN,
        "vocab_size": VOCAB, "categories": ["foundation", "code", "math", "cot"], "bos_id": None,
        "eos_id": None, "pad_id": None, "groups": groups, "shards": shards, "seed": 0,
        "index_sha256": sha256_file(root / "tokens" / "index.json"),
    }  # fmt: skip
    (root / "mixture").mkdir()
    (root / "mixture" / "mixture.json").write_text(json.dumps(recipe))
    return open_inputs(root)


def put_rare_token(root: Path, steps: Sequence[int], token: int) -> None:
    """Put a token into the first sequence of the batches of some steps."""
    for step in steps:
        data = StageData.from_folders(root / "tokens", root / "mixture")
        row = data.batch(step, BATCH).tokens_BT1[0]
        for path in sorted((root / "tokens").glob("*.tokens.npy")):
            tokens = np.load(path)
            for start in range(0, len(tokens) - SEQ_LEN, SEQ_LEN):
                if (tokens[start : start + SEQ_LEN + 1] == row).all():
                    tokens[start + 5] = token
            np.save(path, tokens)


def poisoned(source: Path, target: Path, token: int, value: float = np.nan) -> FolderFiles:
    """Copy a training state and set the embedding of one token."""
    for name, data in content(source).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(data)
    path = target / "model" / "model.safetensors"
    weights = load_file(path)
    weights["model.embed_tokens.weight"][token] = value
    save_file(weights, path)
    return FolderFiles(target)


def open_inputs(root: Path) -> dict[str, FolderFiles]:
    """Open what `write_inputs` wrote."""
    return {name: FolderFiles(root / name) for name in ("tokens", "mixture")}


def step_config(
    *, steps: int = STEPS, stage: str = "foundation", **train_fields: Any
) -> TrainStepConfig:
    """Configure a stage of the small model; `train_fields` go into its `train` section."""
    fields = {
        "batch_sequences": BATCH, "micro_batch": 1,
        "checkpoint": {"every_steps": 4, "keep": 2}, **train_fields,
    }  # fmt: skip
    return TrainStepConfig.model_validate(
        {
            "stage": stage,
            "tokens": steps * BATCH * SEQ_LEN,
            "sequence_length": SEQ_LEN,
            "schedule": {"lr_peak": 3e-3, "warmup_fraction": 0.1},
            "model": MODEL,
            "train": fields,
        }
    )


def run(
    config: TrainStepConfig,
    inputs: dict[str, Any],
    out: Path,
    *,
    world_size: int = 2,
    progress: Any = None,
    launch: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run the step into a folder and return its metrics."""
    runtime = RuntimeConfig.model_validate({"world_size": world_size, "launch": launch or {}})
    ctx = StepContext(config, inputs, FolderOutput(out), runtime)
    if progress is not None:
        ctx.progress = progress
    return train(ctx)


def content(out: Path) -> dict[str, bytes]:
    """Read all files of a step's output."""
    files = FolderFiles(out)
    return {r.name: files.local(r.name).read_bytes() for r in files.records()}


def lines(out: Path) -> list[dict[str, Any]]:
    """Read `metrics.jsonl`."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def _run_and_die(root: str, out: str, fields: str = "{}", previous: str = "") -> None:
    """Run the step and kill this process, as `kill -9` would.

    `die_at_step`, `die_at` (a number of progress events) and `die_in` (a point of the publication
    of checkpoint 8, see `die_while_publishing`) say when; `store` is the root of a store to use.
    """
    train_fields = json.loads(fields)
    store = train_fields.pop("store", None)
    if point := train_fields.pop("die_in", None):
        die_while_publishing(point)
    at_step, at_event = train_fields.pop("die_at_step", None), train_fields.pop("die_at", None)
    inputs: dict[str, Any] = dict(open_inputs(Path(root)))
    if previous:
        inputs["previous"] = FolderFiles(previous)
    seen = []

    def progress(done: float, total: float, unit: str = "", **info: Any) -> None:
        seen.append(info["step"])
        if info["step"] == at_step or len(seen) == at_event:
            os.kill(os.getpid(), signal.SIGKILL)

    if store:
        run_in_store(step_config(**train_fields), inputs, Path(store))
    run(step_config(**train_fields), inputs, Path(out), progress=progress)


def die_while_publishing(point: str, step: int = 8) -> None:
    """Have this process kill itself at a point of the publication of a checkpoint.

    In a folder: `before` the files are moved, with `half` of them moved, `uncommitted` with all of
    them in place. In a store: `put-N` before file N, `create` before the record.
    """

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def move(source: str, target: Path, plain: Any = shutil.move) -> None:
        if Path(target).name == str(step) and point in ("before", "half"):
            if point == "half":
                shutil.copytree(Path(source) / "optimizer", target / "optimizer")
            die()
        plain(source, target)

    def write_json(self: Any, path: Path, text: str, plain: Any = FolderOutput._write_json) -> None:
        if path.parent.name == str(step) and point == "uncommitted":
            die()
        plain(self, path, text)

    puts: list[str] = []

    def put(self: Any, path: str, *args: Any, plain: Any = LocalBackend.put, **kw: Any) -> None:
        if f"/checkpoints/{step}/" in path:
            puts.append(path)
            if point == f"put-{len(puts)}":
                die()
        plain(self, path, *args, **kw)

    def create(self: Any, path: str, data: bytes, plain: Any = LocalBackend.create) -> bool:
        if path.endswith(f"/checkpoints/{step}/_COMMIT.json") and point == "create":
            die()
        return bool(plain(self, path, data))

    folder.shutil = SimpleNamespace(**{**vars(shutil), "move": move})  # type: ignore[assignment]
    FolderOutput._write_json = write_json  # type: ignore[method-assign]
    LocalBackend.put, LocalBackend.create = put, create  # type: ignore[method-assign]


def run_in_store(
    config: TrainStepConfig, inputs: dict[str, Any], root: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """Run the step as an attempt of a store; return its metrics and its files' digests."""
    store = Store(str(root / "store"), root / "scratch", lease_s=2.0)
    spec = Spec("train", 1, config.identity(), {})
    with store.attempt(spec) as attempt:
        metrics = train(StepContext(config, inputs, attempt, RuntimeConfig(world_size=2)))
        made = store.commit(spec, attempt, metrics, {})
    return metrics, {f.name: f.sha256 for f in made.files}


def run_killed(root: Path, out: Path, *, previous: Path | None = None, **fields: Any) -> None:
    """Run the step in a process of its own that is killed; see `_run_and_die`."""
    arguments = [str(root), str(out), json.dumps(fields), str(previous or "")]
    done = subprocess.run(
        [sys.executable, __file__, "die", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def descendants() -> list[psutil.Process]:
    """Return all processes that this one started, directly or not."""
    return psutil.Process().children(recursive=True)


def rank_processes(out: Path) -> dict[int, psutil.Process]:
    """Find the ranks that train into a folder by the logs they hold open."""
    found = {}
    for process in psutil.process_iter():
        try:
            files = [f.path for f in process.open_files()]
        except psutil.Error:
            continue
        for path in files:
            name = re.fullmatch(r"rank(\d+)\.log", Path(path).name)
            if name and Path(path).is_relative_to(out):
                found[int(name[1])] = process
    return found


def _run_and_leave(root: str, out: str, at_step: str, launch: str) -> None:
    """Run the step and kill this process once a step is done, as `kill -9` would.

    The processes it had started are left in `descendants.json` beside the output.
    """

    def progress(done: float, total: float, unit: str = "", **info: Any) -> None:
        if info.get("step", -1) >= int(at_step):
            left = [[p.pid, p.create_time()] for p in descendants()]
            left += [[p.pid, p.create_time()] for p in rank_processes(Path(out)).values()]
            Path(out).with_name("descendants.json").write_text(json.dumps(left))
            os.kill(os.getpid(), signal.SIGKILL)

    run(
        step_config(),
        open_inputs(Path(root)),
        Path(out),
        progress=progress,
        launch=json.loads(launch),
    )


def killed(root: Path, out: Path, at_step: int, launch: dict[str, Any]) -> list[psutil.Process]:
    """Run the step in a process that kills itself; returns what it had started and still lives."""
    command = [
        sys.executable,
        __file__,
        "leave",
        str(root),
        str(out),
        str(at_step),
        json.dumps(launch),
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    started = json.loads(out.with_name("descendants.json").read_text())
    assert started
    left = []
    for pid, created in started:
        try:
            if (process := psutil.Process(pid)).create_time() == created:
                left.append(process)
        except psutil.Error:
            continue
    return left


if __name__ == "__main__":
    {"die": _run_and_die, "leave": _run_and_leave}[sys.argv[1]](*sys.argv[2:])
