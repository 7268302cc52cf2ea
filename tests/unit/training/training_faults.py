"""Ranks with an injected fault: started as a program, it runs each scenario named on its command
line with two forked ranks, and leaves their events, exit codes and errors in the folder.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

RANK_OF = {"write": 0}  # of the fault; otherwise 1
SCENARIOS: dict[str, dict[str, Any]] = {
    "weight": {"replicas_every": 1},
    "bias": {"replicas_every": 2},
    "healthy": {"replicas_every": 1},
    "write": {},
    "hang": {"stall_factor": 0.001, "stall_floor_s": 8.0, "stall_patience": 1.25},
}


def flip(name: str) -> Any:
    """Return a fault that flips the lowest bit of one value of a tensor."""

    def fault(loop: Any) -> None:
        import torch

        tensor = dict([*loop.engine.model.named_parameters(), *loop.engine.model.named_buffers()])
        tensor[name].detach().view(-1)[3:4].view(torch.int32).bitwise_xor_(1)

    return fault


def hang_here(loop: Any) -> None:
    """Wait for what never comes."""
    threading.Event().wait()


def die_while_writing(loop: Any) -> None:
    """Have rank 0 kill itself when it has written half of its next checkpoint's moments."""
    from openseek.training import state

    plain = state.write_tensors

    def write_tensors(path: Path, *args: Any, **kwargs: Any) -> None:
        plain(path, *args, **kwargs)
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    state.write_tensors = write_tensors


FAULTS = {
    "write": die_while_writing,
    "weight": flip("model.layers.0.self_attn.kv_b_proj.weight"),
    "bias": flip("model.layers.1.mlp.gate.e_score_correction_bias"),
    "healthy": lambda loop: None,
    "hang": hang_here,
}


def rank_main(rank: int, job: Path, scenario: str) -> None:
    """Be a rank; one of them has the fault in step 3."""
    from openseek.training import bootstrap, worker
    from openseek.training.loop import Loop

    os.environ.update(bootstrap.rank_environment(rank, 2))
    events = (job.parent / f"rank{rank}.events").open("w")
    plain = Loop._accumulate

    def accumulate(loop: Loop, step: int) -> Any:
        if step == 3 and rank == RANK_OF.get(scenario, 1):
            FAULTS[scenario](loop)
        return plain(loop, step)

    Loop._accumulate = accumulate  # type: ignore[method-assign]

    def send(line: str) -> None:
        events.write(line + "\n")
        events.flush()

    os._exit(worker.run_rank(job, send, job.parent / "rendezvous"))


def main(root: Path, inputs: Path, scenarios: list[str]) -> None:
    """Run scenarios one after another."""
    import training_small as small

    from openseek.training import bootstrap, spawner
    from openseek.training.job import Job

    bootstrap.load_libraries()
    spawner._preload()
    context = multiprocessing.get_context("fork")
    for scenario in scenarios:
        folder = root / scenario
        folder.mkdir()
        config = small.step_config(
            steps=6, monitor=SCENARIOS[scenario], checkpoint={"every_steps": 2}
        )
        job = Job(
            config=config, seed=0, course="", tokens=str(inputs / "tokens"),
            mixture=str(inputs / "mixture"), scratch=str(folder),
        )  # fmt: skip
        (folder / "job.json").write_text(job.model_dump_json())
        ranks = [
            context.Process(target=rank_main, args=(r, folder / "job.json", scenario))
            for r in range(2)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(120)
            process.kill()
        (folder / "codes.json").write_text(json.dumps([p.exitcode for p in ranks]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
