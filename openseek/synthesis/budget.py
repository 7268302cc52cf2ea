"""A limit in money that a step's answers stay under, however many are asked for at once.

Before a request is sent, the most that it could cost is set aside; what it did cost is booked when
the answer is there. Where the rest might not do for one more request, it waits for those in flight,
and when there are none, the step ends. So the limit is never exceeded (by the tokens that the
endpoint counts), and little of it stays unused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from openseek.config.teachers import TeacherConfig
from openseek.errors import ConfigError, PermanentError
from openseek.synthesis.prices import price_of
from openseek.synthesis.teacher import Message, Reply

_MESSAGE_TOKENS = 16  # the chat template around a message


class BudgetError(PermanentError):
    """`max_cost_usd` does not allow another request; what is answered is kept."""


class Budget:
    """Money that a step may spend and has spent.

    Args:
        config: The teacher, with its price and `max_cost_usd`.
        spent_usd: Cost of the answers that the step has already.

    Raises:
        ConfigError: There is a limit, but nobody knows what the model costs.
    """

    def __init__(self, config: TeacherConfig, spent_usd: float = 0.0) -> None:
        self.price = price_of(config)
        self.limit_usd = config.max_cost_usd
        self.spent_usd = spent_usd
        self._max_tokens = config.max_tokens
        self._reserved_usd, self._in_flight = 0.0, 0
        self._settled = asyncio.Condition()
        if self.limit_usd and not self.price.known:
            raise ConfigError(
                f"max_cost_usd without a price for the model {config.model!r}",
                where="teacher.max_cost_usd",
                mend="Give price_in and price_out (USD per million tokens), or a price table of "
                "your own in `prices`.",
            )

    def book(self, reply: Reply) -> None:
        """Count what an answer cost, now or earlier."""
        self.spent_usd += self.cost(reply)

    def cost(self, reply: Reply) -> float:
        """Price an answer, in US dollars."""
        return self.price.usd(reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)

    def bound(self, messages: tuple[Message, ...]) -> float:
        """Return the most that a request can cost: no token is shorter than a byte."""
        tokens = sum(len(m["content"].encode("utf-8", "replace")) for m in messages)
        return self.price.usd(tokens + _MESSAGE_TOKENS * len(messages), self._max_tokens)

    @asynccontextmanager
    async def room_for(self, messages: tuple[Message, ...]) -> AsyncIterator[None]:
        """Set aside what a request can cost until its answer is booked.

        Raises:
            BudgetError: The limit does not allow it.
        """
        if not self.limit_usd:
            yield
            return
        bound = self.bound(messages)
        async with self._settled:
            while self.spent_usd + self._reserved_usd + bound > self.limit_usd:
                if not self._in_flight:
                    raise self._exhausted(bound)
                await self._settled.wait()
            self._reserved_usd += bound
            self._in_flight += 1
        try:
            yield
        finally:
            self._reserved_usd -= bound
            self._in_flight -= 1
            async with self._settled:
                self._settled.notify_all()

    def _exhausted(self, bound: float) -> BudgetError:
        return BudgetError(
            f"the answers so far cost {self.spent_usd:.4f} USD and the next could cost "
            f"{bound:.4f}, which max_cost_usd={self.limit_usd:g} does not allow",
            where="teacher.max_cost_usd",
            mend="All answers are kept. Raise max_cost_usd and run it again: it goes on from here.",
        )
