"""Answers that were received once: neither a kill nor a change of code pays for one twice.

Every answer goes at once into a journal, one SQLite file that the processes of a machine share; a
killed run loses only what was in flight. From there the answers go in segments, files that appear
whole or not at all, to a folder or an fsspec URL which all machines, runs and configurations share.
What others put there is read into the journal when a cache is opened.

The key is a digest of all that an answer depends on: model, sampling, further fields of a request,
messages, kind and version of the prompt, and the schema that it is held to. Answers and permanent
refusals are kept, faults that may pass never; neither prompts nor the endpoint's key or address
are. `{root}/segments/{digest}.jsonl.gz` has a line an answer.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from openseek.artifacts.backend import open_backend
from openseek.config.teachers import TeacherConfig
from openseek.errors import OpenSeekError, StoreError
from openseek.synthesis.teacher import Message, Prompt, Reply

log = logging.getLogger(__name__)

SEGMENT_BYTES = 4_000_000
SEGMENT_S = 30.0
_WAIT_S = 120.0  # for another process's write
_TABLES = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, line TEXT, refused INT, segment INT)"
    " WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS fresh ON answers (segment) WHERE segment = 0",
    "CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY)",
)
_PUT = (
    "INSERT INTO answers VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET line = excluded.line,"
    " refused = excluded.refused, segment = excluded.segment"
    " WHERE answers.refused > excluded.refused"  # the first stays, but an answer beats a refusal
)


@dataclass(frozen=True)
class Answer:
    """What came of a request: a reply, or the reason of a permanent refusal."""

    reply: Reply
    refused: str = ""


@dataclass(frozen=True)
class Entry:
    """What is kept of a request.

    Attributes:
        key: See `request_key`.
        line: JSON of the answer, its tokens, the prompt's kind and the model.
        refused: Whether it is a permanent refusal.
    """

    key: str
    line: str
    refused: bool

    @classmethod
    def of(cls, key: str, answer: Answer, kind: str, model: str) -> Entry:
        """Lay out an answer; kind and model are for whoever reads a segment."""
        reply = answer.reply
        line: dict[str, Any] = {"key": key, "kind": kind, "model": model}
        line["tokens"] = [reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens]
        line |= {"refused": answer.refused} if answer.refused else {"text": reply.text}
        # In ASCII: also of texts that are no valid Unicode.
        return cls(key, json.dumps(line), bool(answer.refused))


class RequestCache:
    """Answers by request.

    Args:
        root: Folder or fsspec URL that is shared.
        scratch: Local folder for the journal of a URL; the journal of a folder lies in it.

    Raises:
        StoreError: The journal cannot be written, or is no journal.
    """

    def __init__(self, root: str, scratch: Path | str = ".openseek/scratch") -> None:
        self.root = root
        self.backend = open_backend(root)
        local = self.backend.local("journal")
        tag = hashlib.sha256(root.encode()).hexdigest()[:16]
        folder = Path(scratch).resolve() / "requests" / tag if local is None else local
        self.path = folder / f"{socket.gethostname()}.sqlite"
        self._lock = threading.Lock()
        self._fresh_bytes, self._shared_at = 0, time.monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = self._connect()
            for statement in _TABLES:
                self._db.execute(statement)
            self.read_segments()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"no request cache: {error}", where=str(self.path),
                mend="Give a folder that can be written, or remove the damaged file.",
            ) from error  # fmt: skip

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        db.execute("PRAGMA journal_mode=WAL")  # readers never wait for a writer
        db.execute("PRAGMA synchronous=NORMAL")  # survives a kill of the process
        return db

    def get(self, keys: Sequence[str]) -> list[Answer | None]:
        """Return what came of each request, None where it was not answered."""
        with self._transaction("BEGIN") as db:
            select = "SELECT line FROM answers WHERE key = ?"
            rows = [db.execute(select, (key,)).fetchone() for key in keys]
        return [_read(json.loads(row[0])) if row else None for row in rows]

    def put(self, entries: Sequence[Entry]) -> None:
        """Keep what came of requests; the first answer of each stays."""
        with self._transaction("BEGIN IMMEDIATE") as db:
            db.executemany(_PUT, [(e.key, e.line, e.refused, 0) for e in entries])
            self._fresh_bytes += sum(len(e.line) for e in entries)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """Hold the lock and a transaction; what fails in it changes nothing."""
        with self._lock:
            self._db.execute(begin)
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @property
    def due(self) -> bool:
        """Whether there is enough for a segment, or it has waited long enough."""
        waited = time.monotonic() - self._shared_at > SEGMENT_S
        return self._fresh_bytes > SEGMENT_BYTES or (waited and self._fresh_bytes > 0)

    def share(self) -> int:
        """Put the journal's answers that are in no segment into new ones; returns how many.

        Any thread may call it. Killed in between, the same answers go into another segment later.
        """
        self._fresh_bytes, self._shared_at = 0, time.monotonic()
        shared = 0
        with closing(self._connect()) as db:
            while True:
                rows, size = [], 0
                found = db.execute("SELECT key, line FROM answers WHERE segment = 0 ORDER BY key")
                with closing(found):
                    for row in found:
                        rows.append(row)
                        size += len(row[1])
                        if size > SEGMENT_BYTES:
                            break
                if not rows:
                    return shared
                data = "".join(f"{line}\n" for _, line in rows).encode()
                name = f"{hashlib.sha256(data).hexdigest()[:32]}.jsonl.gz"
                self.backend.create(f"segments/{name}", gzip.compress(data, 6, mtime=0))
                db.execute("BEGIN IMMEDIATE")
                db.execute("INSERT OR IGNORE INTO segments VALUES (?)", (name,))
                # By key and line: a refusal may have become an answer meanwhile.
                db.executemany("UPDATE answers SET segment = 1 WHERE key = ? AND line = ?", rows)
                db.execute("COMMIT")
                shared += len(rows)

    def read_segments(self) -> int:
        """Read the segments of others into the journal; returns the number of new ones."""
        known = {name for (name,) in self._db.execute("SELECT name FROM segments")}
        new = 0
        for entry in sorted(self.backend.list("segments"), key=lambda e: e.path):
            name = entry.path.rsplit("/", 1)[-1]
            if name in known or not name.endswith(".jsonl.gz"):
                continue
            try:
                # A range and not `read`: that wants an ETag, which not every file system has.
                data = gzip.decompress(self.backend.read_range(entry.path, 0, entry.size))
                lines = [_row(line) for line in data.decode().splitlines()]
            except (FileNotFoundError, ValueError, KeyError, EOFError, OSError):
                log.warning("request_cache=damaged segment=%s", entry.path)
                continue
            with self._transaction("BEGIN IMMEDIATE") as db:
                db.executemany(_PUT, lines)
                db.execute("INSERT OR IGNORE INTO segments VALUES (?)", (name,))
            new += 1
        return new

    def close(self) -> None:
        """Share what is left and close the journal; what cannot be shared now stays in it."""
        try:
            self.share()
        except OpenSeekError as error:
            log.warning("request_cache=not_shared error=%s", error)
        self._db.close()


def _row(text: str) -> tuple[str, str, int, int]:
    line = json.loads(text)
    _read(line)
    return line["key"], text, int("refused" in line), 1


def _read(line: dict[str, Any]) -> Answer:
    return Answer(Reply(line.get("text", ""), *line["tokens"]), line.get("refused", ""))


def asked_of(config: TeacherConfig) -> dict[str, Any]:
    """Return the part of a request's identity that is its teacher's."""
    identity = config.identity()
    return {name: value for name, value in identity.items() if (name, value) != ("extra", {})}


def request_key(teacher: Mapping[str, Any], prompt: Prompt, messages: tuple[Message, ...]) -> str:
    """Digest a request: what is asked of which model, how it samples, and which wording asks.

    Args:
        teacher: See `asked_of`.
        prompt: The prompt.
        messages: Its messages, or those of a repair turn.
    """
    schema = prompt.schema if teacher["structured"] != "none" else None
    body = {
        "teacher": teacher,
        "kind": prompt.kind,
        "version": prompt.version,
        "sample": prompt.sample,
        "stop": list(prompt.stop),
        "schema": None if schema is None else _schema(schema),
        "messages": list(messages),
    }
    if prompt.items != (0, 0) and schema is not None and teacher["structured"] != "json_object":
        body["items"] = list(prompt.items)
    text = json.dumps(body, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=64)
def _schema(schema: type[BaseModel]) -> dict[str, Any]:
    return schema.model_json_schema()


def cache_root(configured: str, store: str, beside: Path | None) -> str:
    """Resolve where answers are kept; empty for nowhere.

    Args:
        configured: `TeacherConfig.cache`.
        store: Root of the run's store.
        beside: The output folder of a layer used alone, in place of a store.
    """
    if configured == "none":
        return ""
    if configured:
        return configured if "://" in configured else str(Path(configured).resolve())
    if beside is not None:
        return str(beside.resolve().parent / "_requests")
    return f"{store.rstrip('/')}/requests"
