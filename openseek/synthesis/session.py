"""Asking in the step's own process: one teacher, one cache and one budget for all of its work.

A network answers, not this machine's cores, so one process with an event loop asks for all pieces
of work, and limits by the minute, in money and in concurrency hold for all of them together.
Pieces run in threads, a few at a time, so that requests of the next ones fill the gaps at the end
of one. When the work ends early, by a fault, a limit or Ctrl-C, no new request is sent, and those
in flight are waited for and kept.

`Asking` is what a step uses: a session, or the data workers for the teacher by rule.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from openseek.artifacts.context import Progress, StepContext
from openseek.artifacts.files import ShardRecord
from openseek.artifacts.folder import FolderOutput
from openseek.artifacts.store import store_root
from openseek.config.teachers import TeacherConfig
from openseek.synthesis.asking import CachedTeacher
from openseek.synthesis.budget import Budget
from openseek.synthesis.prices import cost_usd
from openseek.synthesis.request_cache import RequestCache, cache_root
from openseek.synthesis.teacher import Teacher
from openseek.synthesis.teachers import build_teacher

log = logging.getLogger(__name__)

S = TypeVar("S")
R = TypeVar("R")
_current: list[Session] = []


class Session:
    """Ask one teacher from this process; a context manager.

    Args:
        config: The teacher.
        cache: Folder or URL of the request cache; empty: none.
        scratch: Local folder for the journal of a cache that is not local.
        spent_usd: What the step's answers so far cost.
    """

    def __init__(
        self, config: TeacherConfig, cache: str = "", scratch: Path | str = ".openseek/scratch",
        spent_usd: float = 0.0,
    ) -> None:  # fmt: skip
        self.config = config
        self._given = cache, scratch, spent_usd
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._running: set[Future[Any]] = set()
        self._stopped = False
        self.teacher: CachedTeacher

    def __enter__(self) -> Session:
        self._thread.start()
        try:
            self.teacher = self.run(self._build())
        except BaseException:
            self._end()
            raise
        _current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.remove(self)
        self.stop()
        try:
            asyncio.run_coroutine_threadsafe(self.teacher.close(), self._loop).result()
        finally:
            self._end()
            for recipe, counts in self.teacher.ledger().items():
                told = " ".join(f"{name}={value}" for name, value in counts.items())
                log.info("ledger recipe=%s %s", recipe, told)

    async def _build(self) -> CachedTeacher:
        root, scratch, spent = self._given
        budget = Budget(self.config, spent)
        cache = RequestCache(root, scratch) if root else None
        teacher: Teacher = build_teacher(self.config)
        return CachedTeacher(teacher, self.config, cache, budget)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the session's loop; any thread may call it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._running.add(future)
        if self._stopped:
            future.cancel()
        try:
            return future.result()
        finally:
            self._running.discard(future)

    def stop(self) -> None:
        """Cancel what runs; requests in flight are not cut off, `CachedTeacher.close` waits."""
        self._stopped = True
        for future in list(self._running):
            future.cancel()

    def map(
        self, fn: Callable[..., R], shards: Sequence[S], *, args: Sequence[Any] = (),
        progress: Progress, unit: str, done_before: int = 0, documents: int = 64, **_: Any,
    ) -> list[R]:  # fmt: skip
        """Run `fn(shard, *args)` for every shard, as `map_shards` does, but in threads.

        Args:
            fn: Asks through this session (`generate`, or `current`).
            shards: What to do.
            args: Further arguments.
            progress: Called after each.
            unit: What is counted.
            done_before: Shards that were finished earlier.
            documents: Documents of a shard, which decide how many of them are under way.

        Raises:
            OpenSeekError: The first error of a shard; the others stop.
        """
        total = done_before + len(shards)
        progress(done_before, total, unit)
        results: dict[int, R] = {}
        at_once = 1 + -(-self.config.in_flight // max(1, documents))
        queue = iter(range(len(shards)))
        with ThreadPoolExecutor(at_once, "asking") as threads:
            under_way: dict[Future[R], int] = {}
            try:
                while len(results) < len(shards):
                    while len(under_way) < at_once and (i := next(queue, None)) is not None:
                        under_way[threads.submit(fn, shards[i], *args)] = i
                    for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                        results[under_way.pop(done)] = done.result()
                        progress(done_before + len(results), total, unit)
            except BaseException:
                self.stop()
                raise
        return [results[i] for i in range(len(shards))]


def current() -> Session | None:
    """Return the session that is open in this process, if any."""
    return _current[-1] if _current else None


class Asking:
    """How a step has its pieces of work answered; a context manager.

    Args:
        config: The teacher.
        ctx: The step's context: its store, or the output folder of a layer used alone.
        done: Records of the pieces that are answered, with `usage` in their stats.
        documents: Documents of a piece.
        otherwise: What runs the pieces for the teacher by rule (`map_shards`).
    """

    def __init__(
        self, config: TeacherConfig | None, ctx: StepContext[Any], done: Iterable[ShardRecord],
        documents: int, otherwise: Callable[..., list[Any]],
    ) -> None:  # fmt: skip
        self.map = otherwise
        self.session: Session | None = None
        if config is None or config.kind == "extractive":
            return
        alone = ctx.out.root if isinstance(ctx.out, FolderOutput) else None
        store = getattr(ctx.out, "root", "") or store_root(ctx.runtime.store)
        spent = sum(cost_usd(record.stats.get("usage", {}), config) for record in done)
        self.session = Session(
            config, cache_root(config.cache, str(store), alone),
            ctx.runtime.scratch or ".openseek/scratch", spent,
        )  # fmt: skip
        self.map = partial(self.session.map, documents=documents)

    def __enter__(self) -> Asking:
        if self.session is not None:
            self.session.__enter__()
        return self

    def __exit__(self, *caught: object) -> None:
        if self.session is not None:
            self.session.__exit__(*caught)

    def metrics(self) -> dict[str, Any]:
        """Return `ledger`: by recipe, what this run of the step asked, reused and paid."""
        return {} if self.session is None else {"ledger": self.session.teacher.ledger()}
