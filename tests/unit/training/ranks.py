"""Run a function on several ranks in forked processes; DeepSpeed is loaded once, by the parent."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from openseek.training import bootstrap


def on_ranks(world_size: int, folder: Path, work: Callable[..., Any], *args: Any) -> list[Any]:
    """Return what `work(*args)` returns on each rank of a new gloo process group."""
    bootstrap.load_libraries()
    folder.mkdir(parents=True, exist_ok=True)
    rendezvous = folder / "rendezvous"
    rendezvous.unlink(missing_ok=True)
    context = get_context("fork")
    answers = context.Queue()
    processes = [
        context.Process(target=_rank, args=(answers, rank, world_size, rendezvous, work, args))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    found = dict(answers.get(timeout=300) for _ in processes)
    for process in processes:
        process.join()
    errors = [value for ok, value in found.values() if not ok]
    assert not errors, errors[0]
    return [found[rank][1] for rank in range(world_size)]


def _rank(
    answers: Any, rank: int, world_size: int, rendezvous: Path, work: Callable[..., Any], args: Any
) -> None:
    import torch

    os.environ.update(bootstrap.rank_environment(rank, world_size))
    try:
        bootstrap.join(rendezvous, threads=1, timeout_s=60)
        answers.put((rank, (True, work(*args))))
        torch.distributed.barrier()
    except BaseException:
        answers.put((rank, (False, traceback.format_exc())))
    answers.close()
    answers.join_thread()
    os._exit(0)
