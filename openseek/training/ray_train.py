"""Start ranks by Ray Train, on the nodes of a cluster or on a Ray of its own.

A process of its own drives Ray: when it ends, however that happens, Ray ends the job's actors, and
a Ray of its own ends with it. Ray places the ranks and watches them; checkpoints, results and
events go through the job's folder, and a stage goes on from our own last good checkpoint, so Ray
copies nothing and retries nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from openseek.compute import connect
from openseek.config.runtime import LaunchConfig, RuntimeConfig
from openseek.errors import ConfigError, OpenSeekError, TrainingError
from openseek.training.bootstrap import process_environment
from openseek.training.channel import Tail, event
from openseek.training.parent import Order, Parent, serve

log = logging.getLogger(__name__)

DEVICES = ("GPU", "NPU", "HPU", "MLU", "TPU")  # what Ray calls accelerators
TICK_S = 0.2
SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how fast the death of a rank is seen
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same as without Ray
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}

Resources = Mapping[str, float]


def drive(parent: Parent, runtime: RuntimeConfig) -> None:
    """Serve one job."""
    os.environ.update(SETTINGS)
    connect(runtime)
    nodes = alive_nodes()
    needs = rank_resources(runtime, nodes)
    device = next((name for name in DEVICES if name in needs), "CPU")
    parent.send(event("ready", accelerator=device, devices=room(nodes, needs)))
    order = parent.order()
    if order is not None:
        check_room(nodes, needs, order.world_size)
        Drive(runtime.launch, order, parent).to_the_end(needs)


def alive_nodes() -> list[Resources]:
    """Return the resources of each node of the cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def rank_resources(runtime: RuntimeConfig, nodes: Sequence[Resources]) -> dict[str, float]:
    """Return what a rank reserves: CPUs, an accelerator where there is one, and what is configured.

    Args:
        runtime: Its `launch` section.
        nodes: Resources of each node.
    """
    launch = runtime.launch
    needs = {"CPU": launch.cpus_per_rank or float(runtime.threads_per_rank)}
    for name in DEVICES:
        if any(node.get(name, 0) >= launch.devices_per_rank for node in nodes):
            needs[name] = float(launch.devices_per_rank)
            break
    return {**needs, **launch.resources_per_rank}


def room(nodes: Sequence[Resources], needs: Resources) -> int:
    """Count the ranks that fit, each on one node."""
    return sum(
        min(int(node.get(name, 0) // amount) for name, amount in needs.items() if amount)
        for node in nodes
    )


def check_room(nodes: Sequence[Resources], needs: Resources, world_size: int) -> None:
    """Refuse what would wait for ever.

    Raises:
        ConfigError: The cluster has no room for this many ranks, even when idle.
    """
    fits = room(nodes, needs)
    if fits >= world_size:
        return
    asked = ", ".join(f"{amount:g} {name}" for name, amount in needs.items())
    there = "; ".join(
        ", ".join(f"{node.get(name, 0):g} {name}" for name in needs) for node in nodes
    )
    raise ConfigError(
        f"{world_size} ranks of {asked} each do not fit into the Ray cluster: {len(nodes)} nodes "
        f"have {there}, room for {fits}",
        where="runtime.world_size",
        mend="Lower it or runtime.launch's resources of a rank, or add nodes.",
    )


class Drive:
    """One job on a cluster.

    Args:
        launch: How to place its ranks.
        order: What to train.
        parent: Who wants to know.
    """

    def __init__(self, launch: LaunchConfig, order: Order, parent: Parent) -> None:
        self.launch = launch
        self.parent = parent
        self.folder, self.job, self.world_size = order.folder, order.job, order.world_size
        self.tail = Tail(self.folder)
        self._done = threading.Event()

    def to_the_end(self, needs: Resources) -> None:
        """Train, and report how each rank ended."""
        watch = threading.Thread(target=self._watch, daemon=True, name="parent")
        watch.start()
        try:
            ends = self._fit(needs)
        finally:
            self._done.set()
            watch.join()
        self.parent.forward(self.tail)
        for end in ends:
            self.parent.send(event("exit", **end))

    def _fit(self, needs: Resources) -> list[dict[str, Any]]:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
        from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

        from openseek.training.ray_rank import Meeting, train_rank

        trainer = TorchTrainer(
            train_rank,
            train_loop_config={"job": self.job, "folder": str(self.folder)},
            torch_config=Meeting(),
            scaling_config=ScalingConfig(
                num_workers=self.world_size,
                use_gpu="GPU" in needs,
                resources_per_worker=dict(needs),
                placement_strategy=self.launch.placement,
            ),
            run_config=RunConfig(
                name="train",
                storage_path=str(self.folder / "ray"),
                failure_config=FailureConfig(
                    max_failures=0, max_preemption_failures=0, controller_failure_limit=0
                ),
                worker_runtime_env={"env_vars": worker_environment()},
            ),
        )
        try:
            trainer.fit()
        except WorkerGroupError as error:
            return _ends(error.worker_failures)
        except ControllerError as error:
            raise TrainingError(
                f"Ray Train failed: {str(error.controller_failure).strip()[-2000:]}",
                where=str(self.folder),
                mend="Ray's own logs have more (/tmp/ray/session_latest/logs).",
            ) from error
        return [{"rank": rank, "code": 0} for rank in range(self.world_size)]

    def _watch(self) -> None:
        """Pass events on; end this process, and so all ranks, when the parent is gone."""
        end_s = time.monotonic() + self.launch.wait_s
        started = False
        while not self._done.is_set():
            started |= bool(self.parent.forward(self.tail))
            if not started and time.monotonic() > end_s:
                self.parent.fail(
                    TrainingError(
                        f"Ray did not start the ranks within {self.launch.wait_s:.0f} s",
                        where=f"{self.world_size} ranks, placed {self.launch.placement}",
                        mend="Is the cluster busy with other work, or the placement too strict? "
                        "`ray status` shows it; else raise runtime.launch.wait_s.",
                    )
                )
                return
            self.parent.order(TICK_S)
            if self.parent.gone:
                _leave()


def _leave() -> NoReturn:
    """End at once, with a Ray of our own; a cluster ends the actors of a driver that is gone.

    Ray's helpers notice the death of their node only after many seconds.
    """
    import psutil

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.kill()
    os._exit(1)


def worker_environment() -> dict[str, str]:
    """Return the environment a rank must start with, whichever node it is on."""
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    own = os.environ.get("PYTHONPATH")
    return {**process_environment(threads), **({"PYTHONPATH": own} if own else {})}


def _ends(raised: Mapping[int, BaseException]) -> list[dict[str, Any]]:
    """Say how each rank ended that Ray saw fail; -1 stands for a controller's own failure."""
    ends: list[dict[str, Any]] = []
    for rank, error in sorted(raised.items()):
        text = str(error)
        if "has written why" in text:
            ends.append({"rank": rank, "code": 1})
            continue
        cause = next((e for e in (error, error.__cause__) if isinstance(e, OpenSeekError)), None)
        if cause is not None:
            raise cause
        ends.append({"rank": rank, "code": None, "how": f"died: {text.strip()[-1500:]}"})
    return ends


if __name__ == "__main__":
    serve(drive)
