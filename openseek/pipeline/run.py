"""Run a DAG against a store: find what is finished, work on what is not.

This knows nothing of Prefect; the tasks call `Pipeline.execute` for one node at a time, and the
state of every node lives in the store alone.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil

import openseek
from openseek.artifacts import ArtifactFiles, Manifest, Spec, StepContext, Store, store_root
from openseek.artifacts.attempt import Attempt
from openseek.artifacts.files import FileSet, Json
from openseek.artifacts.keys import canonical
from openseek.config.base import Section
from openseek.config.pipeline import PipelineConfig
from openseek.errors import OpenSeekError, PermanentError, StoreError, TransientError
from openseek.pipeline.dag import Input, Node, build
from openseek.pipeline.follow import Follower, checkpoint_refs, following

log = logging.getLogger(__name__)

# What native writers (and a rank's traceback) say of a full disk, where no errno tells it.
_FULL = re.compile(
    r"No space left on device|os error 28|Not enough free space to write"
    r"|PytorchStreamWriter failed writing|inline_container\.cc:\d+\] \. unexpected pos"
)
PACKAGES = ("torch", "deepspeed", "ray", "prefect", "lighteval", "transformers", "tokenizers")


@dataclass(frozen=True)
class Ref:
    """A small pointer to an artifact: all that passes between tasks."""

    node: str
    step: str
    key: str
    content_digest: str

    def to_json(self) -> dict[str, str]:
        """Dump as JSON."""
        return {
            "node": self.node,
            "step": self.step,
            "key": self.key,
            "content_digest": self.content_digest,
        }


@dataclass(frozen=True)
class Outcome:
    """What became of a node."""

    ref: Ref
    state: Literal["ran", "cached"]
    seconds: float
    manifest: Manifest


StepProgress = Callable[[str, float, float, str, dict[str, Any]], None]


def no_step_progress(node: str, done: float, total: float, unit: str, info: dict[str, Any]) -> None:
    """Ignore progress."""


@dataclass
class Pipeline:
    """A configured run over a store.

    Attributes:
        config: The whole configuration.
        force: Node -> nonce: redo these although they are finished.
        progress: Receives (node, done, total, unit, figures).
        provenance: Facts that go into every manifest (flow run, who started it).
    """

    config: PipelineConfig
    force: Mapping[str, str] = field(default_factory=dict)
    progress: StepProgress = no_step_progress
    provenance: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        runtime = self.config.runtime
        self.nodes = build(self.config)
        self._pinned: dict[str, Section] = {}
        self.followers: list[Follower] = []
        scratch = Path(runtime.scratch or ".openseek/scratch").resolve()
        self.store = Store(store_root(runtime.store), scratch, runtime.lease_s)

    def node(self, name: str) -> Node:
        """Find a node by name."""
        return next(n for n in self.nodes if n.name == name)

    def step_config(self, node: Node) -> Section:
        """Return a node's configuration, with outside content pinned once for the run."""
        if node.name not in self._pinned:
            self._pinned[node.name] = node.pinned(self.config.runtime)
        return self._pinned[node.name]

    def spec(self, node: Node, upstream: Mapping[str, Ref]) -> Spec:
        """Resolve a node's identity from its params and its inputs' content."""
        params: Json = {"config": self.step_config(node).identity()}
        if node.kind != "report":
            params["seed"] = self.config.seed
        if outside := node.outside(self.config.runtime):
            params["outside"] = outside
        if node.name in self.force:
            params["nonce"] = self.force[node.name]
        inputs = {
            name: f"{upstream[i.node].content_digest}{':' + i.prefix if i.prefix else ''}"
            for name, i in node.inputs.items()
        }
        canonical(params)
        return Spec(node.kind, node.version, params, inputs)

    def lookup(self, node: Node, upstream: Mapping[str, Ref]) -> Outcome | None:
        """Return the outcome of a node that is already finished."""
        started = time.monotonic()
        node, upstream = self.with_checkpoints(node, upstream)
        found = self.store.find(self.spec(node, upstream))
        return self._outcome(node, found, "cached", started) if found else None

    def execute(
        self, node: Node, upstream: Mapping[str, Ref], given: Mapping[str, FileSet] | None = None
    ) -> Outcome:
        """Finish a node: adopt its manifest, or run its function under the step's lease.

        Args:
            node: What to do.
            upstream: Reference of each node that it reads.
            given: Inputs whose files lie outside of the store; their references hold the digests.
        """
        started = time.monotonic()
        node, upstream = self.with_checkpoints(node, upstream)
        spec = self.spec(node, upstream)
        if (found := self.store.find(spec)) is not None:
            return self._outcome(node, found, "cached", started)
        with self.explained(node.name):
            with self.store.attempt(spec, on_wait=log.info) as attempt:
                if isinstance(attempt, Manifest):
                    return self._outcome(node, attempt, "cached", started)
                manifest = self._run(node, spec, attempt, upstream, given or {})
            return self._outcome(node, manifest, "ran", started)

    @contextmanager
    def explained(self, where: str) -> Iterator[None]:
        """Turn a fault of the machine (of a step, a worker or the store) into one with its mend."""
        try:
            yield
        except Exception as error:
            if (known := _explain(_os_error(error), where, self._places())) is None:
                raise
            raise known from error

    def _places(self) -> dict[str, Path]:
        """List the local folders that a run writes to."""
        root = self.store.backend.local("")
        stored = {} if root is None else {"runtime.store": root}
        return {**stored, "runtime.scratch": self.store.scratch}

    def files(self, ref: Ref, prefix: str = "") -> ArtifactFiles:
        """Return the files that a reference points to."""
        return self.store.files(self.store.manifest(ref.step, ref.key)).under(prefix)

    def with_checkpoints(
        self, node: Node, upstream: Mapping[str, Ref]
    ) -> tuple[Node, Mapping[str, Ref]]:
        """Let the report read the evaluations of checkpoints within the stages, too."""
        if node.kind != "report":
            return node, upstream
        self.finish_followers()
        trained = {n: r.key for n, r in upstream.items() if r.step == "train"}
        found = checkpoint_refs(self, trained)
        inputs = {**node.inputs, **{name: Input(name) for name in found}}
        return replace(node, inputs=inputs), {**upstream, **found}

    def finish_followers(self) -> None:
        """Wait until the checkpoints that were found are evaluated."""
        followers, self.followers = self.followers, []
        for follower in followers:
            follower.wait()

    def _run(
        self,
        node: Node,
        spec: Spec,
        attempt: Attempt,
        upstream: Mapping[str, Ref],
        given: Mapping[str, FileSet],
    ) -> Manifest:
        started, clock = time.time(), time.monotonic()
        context: StepContext[Any] = StepContext(
            config=self.step_config(node),
            inputs={
                k: given[k] if k in given else self.files(upstream[i.node], i.prefix)
                for k, i in node.inputs.items()
            },
            out=attempt,
            runtime=self.config.runtime,
            seed=self.config.seed,
            progress=lambda done, total, unit="", **info: self.progress(
                node.name, done, total, unit, info
            ),
            log=logging.getLogger(f"openseek.{node.kind}"),
        )
        log.info("step=%s state=running key=%s", node.name, spec.key[:12])
        with ExitStack() as stack:
            if node.kind == "train":
                stage = node.name.partition("-")[2]
                stack.enter_context(following(self, stage, spec.folder, spec.key))
            metrics = node.load()(context)
        provenance = {
            **self.provenance,
            "node": node.name,
            "started": started,
            "seconds": round(time.monotonic() - clock, 3),
            **machine_facts(),
        }
        return self.store.commit(spec, attempt, metrics, provenance)

    def _outcome(
        self, node: Node, manifest: Manifest, state: Literal["ran", "cached"], started: float
    ) -> Outcome:
        ref = Ref(node.name, manifest.step, manifest.key, manifest.content_digest)
        seconds = time.monotonic() - started
        body = {**ref.to_json(), "state": state, "seconds": round(seconds, 3), "at": time.time()}
        self.store.write_ref(self.config.name, node.name, body)
        return Outcome(ref, state, seconds, manifest)

    def write_run(self, state: str, **facts: Any) -> None:
        """Record the run itself: its configuration and how it stands."""
        body = {
            "run": self.config.name,
            "state": state,
            "at": time.time(),
            "config": self.config.model_dump(mode="json"),
            "nodes": [n.name for n in self.nodes],
            **facts,
        }
        self.store.write_ref(self.config.name, "_run", body)


def _os_error(error: BaseException) -> OSError | None:
    """Find the machine's fault in an error, also in what a worker or a native writer says of it."""
    cause = getattr(error.__cause__, "cause", None) if type(error) is PermanentError else None
    for found in (error, cause):
        if isinstance(found, OSError) and found.errno is not None:
            return found
    if _FULL.search(str(error)):
        return OSError(errno.ENOSPC, str(error))
    return error if isinstance(error, OSError) else None


def _explain(error: OSError | None, where: str, places: Mapping[str, Path]) -> OpenSeekError | None:
    """Say what a full disk, a missing right or a lost connection means for the run."""
    if error is None:
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        there = {k: next(p for p in (v, *v.parents) if p.exists()) for k, v in places.items()}
        free = ", ".join(f"{k} has {shutil.disk_usage(v).free:,} bytes" for k, v in there.items())
        return StoreError(
            f"the disk is full ({error.filename or error.strerror}; free: {free})",
            where=where,
            mend="Free some space (`openseek gc`), or set runtime.store and runtime.scratch to "
            "another disk, and run the same command again: what was finished is kept.",
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return StoreError(
            f"no right to read or write: {error.filename}",
            where=where,
            mend="Mend the folder's rights.",
        )
    if isinstance(error, ConnectionError | TimeoutError):
        return TransientError(f"{type(error).__name__}: {error}", where=where)
    return None


def machine_facts() -> Json:
    """Describe code, packages and machine for the record."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "openseek": openseek.__version__,
        "git_revision": git_revision(),
        "packages": found,
        "python": platform.python_version(),
        "host": platform.node(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def git_revision() -> str:
    """Return the checkout's revision, with `+dirty` when it has changes; empty without git."""
    here = Path(openseek.__file__).parent
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        changes = _git(here, "status", "--porcelain", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+dirty" if changes else "")


def _git(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def load_run(store: Store, name: str) -> Json:
    """Read the record of a run by name.

    Raises:
        StoreError: There is no such run in this store.
    """
    body = store.read_ref(name, "_run")
    if body is None:
        known = ", ".join(store.runs()) or "none"
        raise StoreError(f"no run {name!r}", where=store.root, mend=f"Runs in this store: {known}.")
    return body


def dump(value: Any) -> str:
    """Encode JSON for people."""
    return json.dumps(value, ensure_ascii=False, indent=1)
