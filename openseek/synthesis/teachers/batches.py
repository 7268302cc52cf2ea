"""Prompts gathered into batches, for a model that answers many at once and is in reach.

What is asked while a batch is under way makes the next one; a first prompt waits for others no
longer than the loop needs to start them.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from openseek.config.teachers import TeacherConfig
from openseek.synthesis.teacher import Message, Prompt, Reply, RowFailure, cut


@dataclass(frozen=True)
class Question:
    """One prompt of a batch."""

    prompt: Prompt
    messages: tuple[Message, ...]


class BatchTeacher(ABC):
    """Answer batches in a thread, one batch at a time for each of `lanes`.

    Args:
        config: The model; `batch_size` prompts at most go together.
        lanes: Batches at the same time.
    """

    def __init__(self, config: TeacherConfig, lanes: int = 1) -> None:
        self.name = config.model
        self.config = config
        self._batch_size = config.batch_size
        self._waiting: list[tuple[Question, asyncio.Future[Reply]]] = []
        self._free = list(range(lanes))
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    def answer(self, questions: Sequence[Question], lane: int) -> list[Reply | RowFailure]:
        """Answer a batch whose `stop` is the same; runs in a thread."""

    async def complete(self, prompt: Prompt, messages: tuple[Message, ...]) -> Reply:
        """Wait for a place in a batch; see `Teacher.complete`."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((Question(prompt, messages), future))
        await asyncio.sleep(0)  # lets the others of this round join
        self._start()
        reply = await future
        text = cut(reply.text, prompt.stop)
        return Reply(text, reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)

    def _start(self) -> None:
        self._waiting = [w for w in self._waiting if not w[1].done()]
        while self._free and self._waiting:
            stop = self._waiting[0][0].prompt.stop
            batch = [w for w in self._waiting if w[0].prompt.stop == stop][: self._batch_size]
            chosen = {id(future) for _, future in batch}
            self._waiting = [w for w in self._waiting if id(w[1]) not in chosen]
            task = asyncio.ensure_future(self._run(batch, self._free.pop()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[tuple[Question, asyncio.Future[Reply]]], lane: int) -> None:
        try:
            replies = await asyncio.to_thread(self.answer, [q for q, _ in batch], lane)
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), reply in zip(batch, replies, strict=True):
                if future.done():
                    continue
                if isinstance(reply, RowFailure):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        finally:
            self._free.append(lane)
            self._start()

    def stop(self) -> None:
        """Drop what waits; batches under way are still answered."""
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            future.cancel()

    async def close(self) -> None:
        """Wait for the batches under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
