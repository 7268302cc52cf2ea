"""Through the engine: `train_engine.py step LAYERS TRAIN|balance RATE STEPS|checkpoint PRESET`.

`step`: two whole optimizer steps of openseek-small-v1 with its first LAYERS layers (0: all), in
bf16 with fp32 master weights, on 1 x 512 random tokens, activations recomputed. TRAIN is JSON of
further fields of the section `train`. It ends itself before the machine runs out of memory.
`balance`: the demo's model on this machine's Python files; the routers' load over the last 50
steps, with the bias updated at RATE (`preset`: the model's own). `checkpoint`: what a checkpoint
costs the loop, written beside it and within it, in turns. The last line is a JSON object.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import sysconfig
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil

VOCAB, LENGTH, BATCH, MICRO = 4096, 256, 16, 8  # the demo's
TEXT_BYTES = 4_000_000
LAST = 50
SPARE_BYTES = 5e8


def engine_for(model_config: Any, train: dict[str, Any], seed: int) -> tuple[Any, Any]:
    """Build a model and its engine, as a rank of the pipeline does."""
    import torch

    from openseek.config.training import TrainConfig
    from openseek.model import build_model
    from openseek.training import bootstrap
    from openseek.training.engine import TrainEngine

    os.environ.update(bootstrap.rank_environment(0, 1))
    # Not removed at once: every later process group meets in the file too.
    bootstrap.join(Path(tempfile.mkdtemp()) / "meet", threads=1)
    config = TrainConfig.model_validate({"precision": "bf16", **train})
    model = build_model(model_config, dtype=torch.bfloat16, seed=seed).train()
    return model, TrainEngine(model, config, 1)


def step(layers: int, train: dict[str, Any]) -> dict[str, Any]:
    """Take two steps, the second of which has all memory mapped, and write the state to disk."""
    import torch

    from openseek.config.model import ModelConfig
    from openseek.model import count_parameters, update_router_biases
    from openseek.training.state import save_state

    shape: dict[str, Any] = {"preset": "openseek-small-v1", "activation_checkpointing": True}
    shape["mtp"] = {"depth": 0}  # the published size has none
    if layers:
        shape["num_hidden_layers"] = layers
    config = ModelConfig.model_validate(shape)
    model, engine = engine_for(config, {"batch_sequences": 1, "micro_batch": 1, **train}, seed=0)
    tokens_BT1 = torch.randint(0, config.vocab_size, (1, 513))
    threading.Thread(target=_end_when_memory_is_short, daemon=True).start()
    seconds, losses = [], []
    for _ in range(2):
        begin = time.perf_counter()
        out = engine.accumulate(tokens_BT=tokens_BT1[:, :-1], labels_BT=tokens_BT1[:, 1:])
        _, updated = engine.update(1e-4, lambda norm: norm >= 0)
        update_router_biases(model, config.balance.bias_update_rate)
        seconds.append(round(time.perf_counter() - begin, 2))
        losses.append(float(out.loss.detach()))
        assert updated, "the gradient was not finite"
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        save_state(engine, config, Path(folder), rank=0)
        written = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
    save_s = round(time.perf_counter() - begin, 2)
    total, active = count_parameters(config)
    return {
        "layers": config.num_hidden_layers, "total": total, "active": active,
        "step_s": seconds, "loss": losses, "save_s": save_s, "state_bytes": written,
    }  # fmt: skip


def checkpoint(preset: str) -> dict[str, Any]:
    """Checkpoint within and beside the loop; the seconds that each takes from it."""
    import torch

    from openseek.config.model import ModelConfig
    from openseek.model import count_parameters, update_router_biases
    from openseek.training.state import save_state, take_snapshot, write_snapshot
    from openseek.training.writer import Checkpoint, CheckpointWriter

    config = ModelConfig.model_validate({"preset": preset}).with_vocab(VOCAB)
    model, engine = engine_for(config, {"batch_sequences": 1, "micro_batch": 1}, seed=0)
    tokens_BT1 = torch.randint(0, config.vocab_size, (1, 513))

    def train() -> float:
        begin = time.perf_counter()
        engine.accumulate(tokens_BT=tokens_BT1[:, :-1], labels_BT=tokens_BT1[:, 1:])
        engine.update(1e-4, lambda norm: norm >= 0)
        update_router_biases(model, 0.0)
        return time.perf_counter() - begin

    train(), train()  # all memory mapped
    found: dict[str, list[float]] = {"step": [], "beside": [], "within": [], "slower": []}
    for turn in range(6):
        written: list[int] = []
        plain = statistics.median(train() for _ in range(5))
        with (
            tempfile.TemporaryDirectory() as folder,
            CheckpointWriter(
                lambda n, _, written=written: written.append(n), asynchronous=turn % 2 == 0
            ) as writer,
        ):
            metrics = Path(folder) / "metrics.jsonl"
            metrics.touch()
            begin = time.perf_counter()
            if turn % 2 == 0:
                state = partial(write_snapshot, take_snapshot(engine, rank=0), config)
            else:
                state = partial(save_state, engine, config, rank=0)
            writer.submit(Checkpoint(Path(folder) / "checkpoint", state, {"step": 1}, metrics, 0))
            stall = time.perf_counter() - begin
            slower = 0.0
            while not written:
                slower += train() - plain
        found["within" if turn % 2 else "beside"].append(stall)
        found["step"].append(plain)
        if turn % 2 == 0:
            found["slower"].append(slower)
    return {"parameters": count_parameters(config)[0]} | {
        f"{name}_s": round(statistics.median(values), 3) for name, values in found.items()
    }


def _end_when_memory_is_short() -> None:
    """End this process rather than have the machine swap."""
    pause = threading.Event()
    while psutil.virtual_memory().available > SPARE_BYTES:
        pause.wait(0.02)
    print("less than 0.5 GB of memory were left", file=sys.stderr, flush=True)
    os._exit(1)


def balance(rate: float | None, steps: int) -> dict[str, Any]:
    """Train the demo's model and measure each router's largest over mean load.

    Args:
        rate: Step of the bias update; None: the preset's.
        steps: Optimizer steps.
    """
    import torch

    from openseek.config.model import ModelConfig
    from openseek.model import update_router_biases

    config = ModelConfig(preset="demo").with_vocab(VOCAB)
    model, engine = engine_for(config, {"batch_sequences": BATCH, "micro_batch": MICRO}, seed=17)
    rate = config.balance.bias_update_rate if rate is None else rate
    rows = _rows(steps * BATCH)
    ratios: dict[str, list[float]] = {}
    losses = []
    for i in range(steps):
        for micro in rows[i * BATCH : (i + 1) * BATCH].split(MICRO):
            out = engine.accumulate(tokens_BT=micro[:, :-1], labels_BT=micro[:, 1:].contiguous())
            losses.append(float(out.parts["ce"]))
            if len(losses) % (BATCH // MICRO):
                engine.micro_step()
        # The demo's rate: warm-up over the first tenth, constant, decay over the last third.
        share = min(1.0, (i + 1) / (0.1 * steps), 0.05 + (steps - i) / (0.35 * steps))
        engine.update(4e-3 * share, lambda norm: norm >= 0)
        for name, load in update_router_biases(model, rate).items():
            ratios.setdefault(name, []).append(float(load.max() / load.float().mean()))
    torch.distributed.destroy_process_group()
    means = {name: round(statistics.fmean(r[-LAST:]), 3) for name, r in ratios.items()}
    recent = losses[-LAST * BATCH // MICRO :]
    return {"rate": rate, "max_over_mean": means, "loss": round(sum(recent) / len(recent), 4)}


def _rows(count: int) -> Any:
    """Cut this Python's own library into sequences, a fixed shuffle of files."""
    import torch
    from tokenizers import ByteLevelBPETokenizer

    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    paths += sorted(Path(sysconfig.get_path("purelib")).glob("[a-p]*/*.py"))
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0)).tolist()
    texts: list[str] = []
    size, needed = 0, count * LENGTH * 5
    for i in order:
        if size > max(TEXT_BYTES, needed):
            break
        text = paths[i].read_text(encoding="utf-8", errors="replace")[:60_000]
        texts.append(text)
        size += len(text)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts[:300], vocab_size=VOCAB, show_progress=False)
    ids = [i for text in texts for i in tokenizer.encode(text).ids]
    rows = torch.tensor(ids[: len(ids) // (LENGTH + 1) * (LENGTH + 1)]).view(-1, LENGTH + 1)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))]
    assert len(rows) >= count, f"{len(rows)} sequences of text, {count} are needed"
    return rows[:count]


def main() -> None:
    """Run what is asked for and print."""
    import torch

    torch.set_num_threads(1)
    if sys.argv[1] == "step":
        answer = step(int(sys.argv[2]), json.loads(sys.argv[3]))
    elif sys.argv[1] == "checkpoint":
        answer = checkpoint(sys.argv[2])
    else:
        rate = None if sys.argv[2] == "preset" else float(sys.argv[2])
        answer = balance(rate, int(sys.argv[3]))
    answer["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(answer), flush=True)
    os._exit(0)  # DeepSpeed's threads and hooks have nothing to say at exit


if __name__ == "__main__":
    main()
