"""Parallel work on Ray: one function, bounded, with retries and progress.

Shards travel as file names, never as data, so memory is bounded by shard size times workers.
Results come back in the order of the shards whatever the order in which they finish.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from openseek.artifacts.context import Progress, no_progress
from openseek.config.runtime import RuntimeConfig
from openseek.errors import ConfigError, OpenSeekError, PermanentError, TransientError

log = logging.getLogger(__name__)

START_TRIES = 4

S = TypeVar("S")
R = TypeVar("R")


def map_shards(
    fn: Callable[..., R],
    shards: Sequence[S],
    *,
    runtime: RuntimeConfig,
    args: Sequence[Any] = (),
    progress: Progress = no_progress,
    unit: str = "shards",
    done_before: int = 0,
    max_retries: int = 2,
    gpu: bool = False,
    on_result: Callable[[R], None] = lambda result: None,
) -> list[R]:
    """Run `fn(shard, *args)` for every shard on Ray and return the results in shard order.

    `fn` publishes its own output (`Output.commit_shard`) and returns something small. At most
    two tasks a worker are in flight. `TransientError` and a killed worker process are retried
    `max_retries` times; any other error stops the work at once, with the shard named.

    Args:
        fn: Top-level function, importable in a worker.
        shards: Small picklable descriptions, one a task.
        runtime: Ray address and number of workers.
        args: Further arguments, shipped once.
        progress: Called after each shard.
        unit: What is counted.
        done_before: Shards that were finished earlier, for the progress display.
        max_retries: Further tries of one shard.
        gpu: Give each task a GPU of its own where the cluster has any; else they run on CPUs.
        on_result: Called in this process with each result as it comes.

    Raises:
        PermanentError: A shard failed for good; the message names it.
    """
    if not shards:
        return []
    import ray  # slow import: only when there is work

    connect(runtime)
    workers = runtime.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    shared = [ray.put(a) for a in args]
    gpus = 1 if gpu and ray.cluster_resources().get("GPU", 0) >= 1 else 0
    task = ray.remote(
        num_cpus=1, num_gpus=gpus, max_retries=max_retries, retry_exceptions=[TransientError]
    )(fn)
    results: dict[int, R] = {}
    running: dict[Any, int] = {}
    queue = iter(range(len(shards)))
    progress(done_before, done_before + len(shards), unit)
    while len(results) < len(shards):
        while len(running) < 2 * workers and (index := next(queue, None)) is not None:
            running[task.remote(shards[index], *shared)] = index
        ready, _ = ray.wait(list(running), num_returns=1)
        index = running.pop(ready[0])
        try:
            results[index] = ray.get(ready[0])
        except ray.exceptions.RayTaskError as error:
            _cancel(running)
            raise _cause(error, shards[index]) from error
        except ray.exceptions.RayError as error:
            _cancel(running)
            raise PermanentError(
                f"the worker process died {max_retries + 1} times: {type(error).__name__}",
                where=f"shard {shards[index]}",
                mend="Was it killed for memory? Lower runtime.workers or the shard size.",
            ) from error
        on_result(results[index])
        progress(done_before + len(results), done_before + len(shards), unit)
    return [results[i] for i in range(len(shards))]


def _cancel(running: dict[Any, int]) -> None:
    import ray

    for ref in running:
        ray.cancel(ref, force=True)


def _cause(error: Any, shard: object) -> BaseException:
    cause = getattr(error, "cause", None)
    if isinstance(cause, OpenSeekError):
        return cause
    return PermanentError(
        f"{type(cause or error).__name__}: {cause or error}",
        where=f"shard {shard}",
        mend="This is a defect of the step or of its input; the log has the traceback.",
    )


def connect(runtime: RuntimeConfig) -> None:
    """Join the configured Ray cluster, or start a local one; nothing when that is done already.

    Raises:
        ConfigError: No cluster answers.
        TransientError: No local Ray starts.
    """
    import ray

    if ray.is_initialized():
        return
    address = runtime.ray_address or os.environ.get("RAY_ADDRESS", "")
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # keep CUDA_VISIBLE_DEVICES as it is
    if not address:
        _start_local(runtime)
        return
    try:
        ray.init(address=address, logging_level="error", log_to_driver=False)
    except (ConnectionError, RuntimeError, SystemExit) as error:
        raise ConfigError(
            f"no Ray cluster answers: {type(error).__name__}: {error}",
            where=f"runtime.ray_address={address!r}",
            mend="Start one with `ray start --head`, mend the address (RAY_AUTH_MODE=token on both "
            "sides when it uses a token), or leave it empty for a local Ray.",
        ) from error


def _start_local(runtime: RuntimeConfig) -> None:
    """Start a private Ray; its node gives up when an agent needs over 15 s (a busy laptop)."""
    import psutil
    import ray

    for attempt in range(1, START_TRIES + 1):
        before = set(psutil.Process().children(recursive=True))
        try:
            ray.init(
                address="local",
                num_cpus=runtime.workers or os.cpu_count(),
                object_store_memory=max(runtime.object_store, 80_000_000),
                include_dashboard=False,
                logging_level="error",
                log_to_driver=False,
            )
            return
        except Exception as error:
            ray.shutdown()
            for left in set(psutil.Process().children(recursive=True)) - before:
                left.kill()  # a node that failed to start leaves its helpers running
            log.warning("ray=not_started try=%d of=%d error=%s", attempt, START_TRIES, error)
    raise TransientError(
        f"Ray did not start in {START_TRIES} tries",
        where="this machine",
        mend="Is it very busy? Close something and run the same command again: what is finished "
        "is kept. `openseek doctor` tests Ray alone.",
    )


def shutdown() -> None:
    """Stop the local Ray that `map_shards` started, if any; a joined cluster is only left."""
    import sys

    if "ray" in sys.modules:
        import ray

        if ray.is_initialized():
            ray.shutdown()
