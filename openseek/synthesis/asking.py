"""A teacher that is asked each thing once: cache before it, budget and ledger beside it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

from openseek.config.teachers import TeacherConfig
from openseek.errors import OpenSeekError
from openseek.synthesis.budget import Budget
from openseek.synthesis.request_cache import Answer, Entry, RequestCache, asked_of, request_key
from openseek.synthesis.teacher import Message, Prompt, Reply, RowFailure, Teacher
from openseek.synthesis.together import Together

log = logging.getLogger(__name__)


class CachedTeacher:
    """Ask a teacher only what was not asked before, and only what the budget allows.

    A request that is under way is not cut off when whoever asked goes away: it is paid, so its
    answer is kept. The same request of two documents is sent once.

    Args:
        teacher: Who answers.
        config: Its configuration: the part of the key that is not in the prompt.
        cache: Where answers are kept; None: nowhere.
        budget: What they may cost; None: anything.

    Attributes:
        counts: (recipe, what) -> number: requests, sent, reused, refused, tokens, and USD that were
            paid now (`paid_usd`) or earlier (`reused_usd`).
    """

    def __init__(
        self, teacher: Teacher, config: TeacherConfig, cache: RequestCache | None = None,
        budget: Budget | None = None,
    ) -> None:  # fmt: skip
        self.name = teacher.name
        self.counts: Counter[tuple[str, str]] = Counter()
        self._teacher, self._config, self._cache = teacher, config, cache
        self._budget = budget or Budget(config)
        self._identity = asked_of(config)
        self._under_way: dict[str, asyncio.Task[Answer]] = {}
        self._sharing: asyncio.Task[None] | None = None
        if cache is not None:
            self._get, self._put = Together(cache.get), Together(cache.put)

    async def complete(self, prompt: Prompt, messages: tuple[Message, ...]) -> Reply:
        """Return the kept answer, or ask and keep it; see `Teacher.complete`.

        Raises:
            BudgetError: `max_cost_usd` does not allow the request.
        """
        key = request_key(self._identity, prompt, messages)
        recipe = prompt.kind.split("/")[0]
        self.counts[recipe, "requests"] += 1
        answer: Answer | None = await self._get(key) if self._cache is not None else None
        if answer is not None and not (answer.refused and self._config.retry_refused):
            self._count(recipe, "reused", answer.reply)
        else:
            task = self._under_way.get(key)
            if task is None:
                task = asyncio.ensure_future(self._ask(key, recipe, prompt, messages))
                self._under_way[key] = task
                task.add_done_callback(lambda _: self._under_way.pop(key, None))
                answer = await asyncio.shield(task)
            else:
                answer = await asyncio.shield(task)
                self._count(recipe, "reused", answer.reply)
        if answer.refused:
            raise RowFailure(answer.refused, f"{prompt.kind}: refused ({answer.refused})")
        return answer.reply

    async def _ask(
        self, key: str, recipe: str, prompt: Prompt, messages: tuple[Message, ...]
    ) -> Answer:
        async with self._budget.room_for(messages):
            try:
                answer = Answer(await self._teacher.complete(prompt, messages))
            except RowFailure as failure:
                answer = Answer(Reply(""), failure.reason)
            if self._cache is not None:
                await self._put(Entry.of(key, answer, prompt.kind, self.name))
            self._count(recipe, "sent", answer.reply)
        if answer.refused:
            self.counts[recipe, "refused"] += 1
        if self._cache is not None and self._cache.due and self._sharing is None:
            self._sharing = asyncio.ensure_future(self._share(self._cache))
        return answer

    def _count(self, recipe: str, how: str, reply: Reply) -> None:
        self._budget.book(reply)
        for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
            self.counts[recipe, name] += getattr(reply, name)
        self.counts[recipe, how] += 1
        usd = "paid_usd" if how == "sent" else "reused_usd"
        self.counts[recipe, usd] += self._budget.cost(reply)  # type: ignore[assignment]

    async def _share(self, cache: RequestCache) -> None:
        try:
            await asyncio.to_thread(cache.share)
        except OpenSeekError as error:  # the journal has them; the next try may succeed
            log.warning("request_cache=not_shared error=%s", error)
        finally:
            self._sharing = None

    def ledger(self) -> dict[str, dict[str, Any]]:
        """Return requests, tokens and money by recipe, of this process."""
        found: dict[str, dict[str, Any]] = {}
        for (recipe, name), n in sorted(self.counts.items()):
            found.setdefault(recipe, {"model": self.name})[name] = round(n, 6)
        return found

    def stop(self) -> None:
        """Send no further request."""
        self._teacher.stop()

    async def close(self) -> None:
        """Wait for the requests in flight, then close the teacher and the cache."""
        self.stop()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        if self._sharing is not None:
            await self._sharing
        await self._teacher.close()
        if self._cache is not None:
            await asyncio.to_thread(self._cache.close)
