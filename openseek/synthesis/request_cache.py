"""Answers that were received once: a killed run loses only those that were in flight.

One SQLite file, shared by the workers of a machine. The key is a digest of all that the answer
depends on: model, sampling and messages. Neither the key of the endpoint nor its address is kept.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from openseek.config.synthesis import TeacherConfig
from openseek.errors import StoreError
from openseek.synthesis.teacher import Message, Prompt, Reply, Teacher

FILE = "answers.sqlite"
_WAIT_S = 120.0  # for another worker's write


class RequestCache:
    """Answers by request, on disk.

    Args:
        folder: A local folder; made if it is missing.

    Raises:
        StoreError: The folder cannot be written, or its file is no cache.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")  # readers never wait for a writer
            self._db.execute("PRAGMA synchronous=NORMAL")  # survives a kill of the process
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, reply TEXT)"
            )
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"no request cache: {error}", where=str(self.path),
                mend="Give a folder on a local disk, or remove the damaged file.",
            ) from error  # fmt: skip

    def get(self, key: str) -> Reply | None:
        """Return the answer to a request, if there is one."""
        with closing(self._db.execute("SELECT reply FROM answers WHERE key = ?", (key,))) as found:
            row = found.fetchone()
        return Reply(*json.loads(row[0])) if row else None

    def put(self, key: str, reply: Reply) -> None:
        """Keep an answer; the first one stays."""
        text = json.dumps([reply.text, reply.prompt_tokens, reply.completion_tokens])
        self._db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (key, text))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def request_key(config: TeacherConfig, messages: tuple[Message, ...]) -> str:
    """Digest a request: what is asked of which model, and how it samples."""
    body: Mapping[str, Any] = {"teacher": config.identity(), "messages": list(messages)}
    text = json.dumps(body, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class CachedTeacher:
    """Ask a teacher only what it was not asked before.

    Args:
        teacher: Who answers.
        config: Its configuration: the part of the key that is not in the messages.
        cache: Where answers are kept.
    """

    def __init__(self, teacher: Teacher, config: TeacherConfig, cache: RequestCache) -> None:
        self.name = teacher.name
        self._teacher, self._config, self._cache = teacher, config, cache

    async def complete(self, prompt: Prompt, messages: tuple[Message, ...]) -> Reply:
        """Return the kept answer, or ask and keep it; see `Teacher.complete`."""
        key = request_key(self._config, messages)
        if (known := self._cache.get(key)) is not None:
            return known
        reply = await self._teacher.complete(prompt, messages)
        self._cache.put(key, reply)
        return reply

    async def close(self) -> None:
        """Close the teacher and the cache."""
        await self._teacher.close()
        self._cache.close()
