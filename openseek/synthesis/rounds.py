"""Rounds: rows that take several turns go forward together, one turn a round.

A batch server works best when the turns of all rows reach it together, and a round is a fixed point
to resume from: its requests depend only on answers of earlier rounds, which the request cache has.
Nobody has to start or end a round: the rows of one piece of work run in one event loop, each joins
when it starts and leaves when it is done or failed, and a round begins when all that joined wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

_OPEN: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Rounds]] = WeakKeyDictionary()


class Rounds:
    """A barrier whose number of parties changes."""

    def __init__(self) -> None:
        self.begun = 0
        self._members = 0
        self._waiting: list[asyncio.Future[None]] = []

    def join(self) -> None:
        """Take part from the next round on."""
        self._members += 1

    def leave(self) -> None:
        """Take part no longer; those that wait do not wait for this one."""
        self._members -= 1
        self._begin()

    async def next(self) -> None:
        """Wait until all members wait, then go on with them."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await asyncio.sleep(0)  # rows that start in this moment join first
            self._begin()
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _begin(self) -> None:
        if self._waiting and len(self._waiting) >= self._members:
            self.begun += 1
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(None)


@asynccontextmanager
async def in_rounds(name: str) -> AsyncIterator[Rounds]:
    """Take part in the rounds of this name in the running loop."""
    rounds = _OPEN.setdefault(asyncio.get_running_loop(), {}).setdefault(name, Rounds())
    rounds.join()
    try:
        yield rounds
    finally:
        rounds.leave()
