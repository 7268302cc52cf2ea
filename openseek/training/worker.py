"""One rank: read the job, build or load the model, train.

Forked by `openseek.training.spawner`, called by `openseek.training.ray_train`, or started by
torchrun or srun: `torchrun --nproc-per-node 8 -m openseek.training.worker JOB.json`.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openseek.errors import OpenSeekError, TrainingError
from openseek.training import bootstrap, channel
from openseek.training.ds_config import check_ranks
from openseek.training.failures import write_error
from openseek.training.job import Job, read_progress
from openseek.training.spawner import die_with_parent

log = logging.getLogger(__name__)

FOLDER_S = 10.0


def run_rank(job_path: Path, send: Callable[[str], None], rendezvous: Path | None) -> int:
    """Run this rank to its end.

    Args:
        job_path: JSON of a `Job`.
        send: Takes a line of JSON for the parent.
        rendezvous: File in which the ranks of one node meet, or None with torchrun.

    Returns:
        The exit code; an error is in `rank{n}.error.json` beside the job.
    """
    rank = int(os.environ["RANK"])
    try:
        _train(Job.model_validate_json(job_path.read_text(encoding="utf-8")), send, rendezvous)
    except BaseException as error:
        traceback.print_exc()
        write_error(job_path.parent, rank, error)
        return 1
    return 0


def _train(job: Job, send: Callable[[str], None], rendezvous: Path | None) -> None:
    begin = time.perf_counter()
    import torch

    from openseek.mixture import StageData
    from openseek.training import peers
    from openseek.training.loop import Loop

    device = bootstrap.join(rendezvous, threads=job.threads)
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()

    lock = threading.Lock()  # the watchdog and the writer of checkpoints report from threads

    def report(event: str, **fields: Any) -> None:
        if rank == 0:
            line = json.dumps({"event": event, **fields})
            with lock:
                send(line)

    peers.agree()
    check_ranks(job.config.train, world_size)
    data = StageData.from_folders(Path(job.tokens), Path(job.mixture))
    _check_data(job, data)
    model = _model(job, rank, world_size, device)
    engine = _engine(job, model, world_size)
    first_step = _restore(job, engine)
    loop = Loop(job, engine, data, device=device, rank=rank, world_size=world_size, report=report)
    if job.resume:
        loop.load(read_progress(Path(job.resume)))
    report("start", step=first_step, setup_s=time.perf_counter() - begin)
    loop.run(first_step, Path(job.resume) / "metrics.jsonl" if job.resume else None)
    _write_speed(job, loop, rank, first_step)
    torch.distributed.barrier()
    report("finished")
    engine.close()
    torch.distributed.destroy_process_group()


def _model(job: Job, rank: int, world_size: int, device: Any) -> Any:
    """Build what this rank holds of the model, with the weights to start from."""
    import torch

    from openseek.model import build_model
    from openseek.training.pipeline import held
    from openseek.training.state import load_model

    config, train = job.config.model, job.config.train
    dtype = torch.bfloat16 if train.precision == "bf16" else torch.float32
    kept = held(config, train.parallel, rank, world_size)
    if start := job.resume or job.previous:
        model = load_model(Path(start), config, dtype, kept)
    else:
        seed = train.seed if train.seed is not None else job.seed
        model = build_model(config, dtype=dtype, seed=seed, kept=kept)
    return model.to(device) if kept is None else model  # DeepSpeed moves the stages of a pipeline


def _engine(job: Job, model: Any, world_size: int) -> Any:
    if job.config.train.parallel.pipeline > 1:
        from openseek.training.ds_pipeline import PipelineTrainEngine

        return PipelineTrainEngine(model, job.config.train, world_size)
    from openseek.training.engine import TrainEngine

    return TrainEngine(model, job.config.train, world_size)


def _restore(job: Job, engine: Any) -> int:
    """Load optimizer state, if any, and return the step to begin with."""
    from openseek.training.state import load_optimizer

    start = job.resume or job.previous
    if start:
        load_optimizer(engine, job.config.model, Path(start))
    return int(read_progress(Path(job.resume))["step"]) if job.resume else 0


def _check_data(job: Job, data: Any) -> None:
    config = job.config
    where = f"stage {config.stage}"
    if data.seq_len != config.sequence_length:
        raise TrainingError(
            f"the mixture has sequences of {data.seq_len} tokens, not {config.sequence_length}",
            where=where,
            mend="Give the mixture and the training of a stage the same sequence_length.",
        )
    if data.vocab_size > config.model.vocab_size:
        raise TrainingError(
            f"the tokens need a vocabulary of {data.vocab_size}, the model has "
            f"{config.model.vocab_size}",
            where=where,
            mend="Raise model.vocab_size, or set it to 0 to follow the tokenizer.",
        )
    needed = config.n_steps * config.train.batch_sequences
    if data.n_sequences < needed:
        raise TrainingError(
            f"the mixture has {data.n_sequences} sequences, the stage takes {needed}",
            where=where,
            mend="Give the mixture and the training of a stage the same tokens.",
        )


def _write_speed(job: Job, loop: Any, rank: int, first_step: int) -> None:
    """Write what depends on the machine to `speed.json` in scratch; a collective."""
    import torch

    rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sums = torch.tensor([float(rss_bytes), time.process_time()], dtype=torch.float64)
    sums = sums.to(loop.device)
    torch.distributed.all_reduce(sums)
    if rank == 0:
        record = {
            **loop.meter.summary(),
            "first_step": first_step,
            "world_size": loop.world_size,
            "device": loop.device.type,
            "peak_rss_bytes": int(sums[0].item()),
            "cpu_seconds": sums[1].item(),
            "updates": loop.engine.updates,
        }
        (Path(job.scratch) / "speed.json").write_text(json.dumps(record), encoding="utf-8")


def find_job(path: Path) -> None:
    """Make sure that this node sees the job; a network file system may be late by seconds.

    Raises:
        TrainingError: It does not.
    """
    pause = threading.Event()
    end_s = time.monotonic() + FOLDER_S
    while not path.is_file():
        if time.monotonic() > end_s:
            raise TrainingError(
                "this node does not see the job",
                where=f"{path} on {socket.gethostname()}",
                mend="Set runtime.launch.folder to a folder that all nodes share under one path.",
            )
        pause.wait(0.2)


def log_to(folder: Path, rank: int) -> None:
    """Send what this process prints, in any language, to `rank{n}.log`."""
    log_file = os.open(folder / f"rank{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log_file, 1)
    os.dup2(log_file, 2)
    os.close(log_file)


def main(job_path: Path) -> int:
    """Be a rank that torchrun or srun started; returns the exit code."""
    die_with_parent(os.getppid())  # torchrun gives its workers a session of their own
    try:
        os.environ.update(bootstrap.cluster_environment())
        find_job(job_path)
    except OpenSeekError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rank = int(os.environ["RANK"])
    log_to(job_path.parent, rank)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if lost_s := Job.model_validate_json(job_path.read_text(encoding="utf-8")).lost_parent_s:
        channel.end_with_parent(job_path.parent, lost_s)
    return run_rank(job_path, channel.sender(job_path.parent), None)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
