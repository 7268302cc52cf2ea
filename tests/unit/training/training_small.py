"""A small model, small inputs, and a way to run the step on them."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import sha256_file
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.config.training import TrainStepConfig
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
) -> dict[str, Any]:
    """Run the step into a folder and return its metrics."""
    runtime = RuntimeConfig(world_size=world_size)
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


def _run_and_die(root: str, out: str, at_step: int) -> None:
    """Run the step and kill this process once a step is done, as `kill -9` would."""

    def progress(done: float, total: float, unit: str = "", **info: Any) -> None:
        if info.get("step", -1) >= at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    run(step_config(), open_inputs(Path(root)), Path(out), progress=progress)


if __name__ == "__main__":
    _run_and_die(sys.argv[1], sys.argv[2], int(sys.argv[3]))
