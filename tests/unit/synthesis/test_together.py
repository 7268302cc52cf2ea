from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from openseek.synthesis.together import Together


def test_what_is_asked_in_one_turn_is_one_call() -> None:
    calls: list[list[int]] = []

    def work(things: Sequence[int]) -> list[int]:
        calls.append(list(things))
        return [thing * 10 for thing in things]

    async def main() -> list[int]:
        together = Together(work)

        async def one(i: int) -> int:
            return int(await together(i))

        first = await asyncio.gather(*(one(i) for i in range(5)))
        return [*first, await one(7)]

    assert asyncio.run(main()) == [0, 10, 20, 30, 40, 70]
    assert calls == [[0, 1, 2, 3, 4], [7]]


def test_a_fault_reaches_everybody_who_asked() -> None:
    def work(things: Sequence[int]) -> None:
        if 2 in things:
            raise OSError("disk full")

    async def main() -> list[object]:
        together = Together(work)

        async def one(i: int) -> object:
            return await together(i)

        met = await asyncio.gather(*(one(i) for i in range(3)), return_exceptions=True)
        return [*met, await one(5)]

    *met, later = asyncio.run(main())
    assert [str(error) for error in met] == ["disk full"] * 3
    assert later is None


def test_one_who_goes_away_takes_nothing_from_the_others() -> None:
    async def main() -> int:
        together = Together(sorted)
        gone, stays = together(1), together(2)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return int(await stays)

    assert asyncio.run(main()) == 2
