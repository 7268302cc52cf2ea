"""Do at once what many tasks of an event loop ask for at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

A = TypeVar("A")


class Together(Generic[A]):
    """Gather what is asked for in one turn of the loop, and have it done by one call in the next.

    A lone request waits for nothing; under load a call's fixed cost (a transaction) is shared.

    Args:
        work: Takes the things that were asked for and returns a result for each, in order, or None.
    """

    def __init__(self, work: Callable[[Sequence[A]], Sequence[Any] | None]) -> None:
        self._work = work
        self._asked: list[tuple[A, asyncio.Future[Any]]] = []

    def __call__(self, thing: A) -> asyncio.Future[Any]:
        """Return the result's future; it raises what the common call raised."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._run)
        future: asyncio.Future[Any] = loop.create_future()
        self._asked.append((thing, future))
        return future

    def _run(self) -> None:
        asked, self._asked = self._asked, []
        try:
            results = self._work([thing for thing, _ in asked]) or [None] * len(asked)
        except Exception as error:  # whoever asked is told, in the place of the loop's handler
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(asked, results, strict=True):
            if not future.done():
                future.set_result(result)
