from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.corpus.shards import make_document, write_documents

PROSE = (
    "A cache is a store of results that were computed before. Because reading memory is slower "
    "than reading a register, processors keep recent data close by. For example, a loop over a "
    "small table runs faster when the table fits into the first level. However, the cache must "
    "be told when another core changes the same data, and therefore protocols between caches "
    "exist. "
)
CHINESE = (
    "光合作用是绿色植物利用光能把二氧化碳和水转化为有机物的过程。"
    "因为叶绿素吸收红光和蓝光，所以叶片看起来是绿色的。"
    "例如，阴天的光照较弱，植物的生长速度也会变慢。"
    "如果缺少水分，气孔就会关闭，从而降低光合作用的强度。"
)


def document(text: str, n: int, *, source: str = "books", **given: Any) -> dict[str, Any]:
    fields = {"category": "foundation", "lang": "en", "license": "CC-BY-4.0"} | given
    return make_document(text, source=source, origin=f"{source}/{n}", **fields)


def write_shards(folder: Path, shards: dict[str, list[dict[str, Any]]]) -> FolderFiles:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in shards.items():
        write_documents(folder / name, rows)
    return FolderFiles(folder)


def corpus() -> dict[str, list[dict[str, Any]]]:
    """Two sources in two languages; a few documents are noise."""
    english, chinese = [], []
    for n in range(260):
        words = PROSE.split()
        start = n * 7 % len(words)
        text = " ".join(words[start:] + words[: start % 50] + [f"chapter {n}"])
        english.append(document(text * (1 + n % 3), n))
    noise = hashlib.sha256(b"noise").hexdigest() * 8
    english[100] = document("".join(chr(33 + (ord(c) * i) % 90) for i, c in enumerate(noise)), 100)
    for n in range(40):
        text = CHINESE[n % 20 :] * (1 + n % 4) + f"第{n}章。"
        chinese.append(document(text, n, source="xinhua", lang="zh-Hans"))
    return {
        "books-00000.parquet": english[:90],
        "books-00001.parquet": english[90:200],
        "books-00002.parquet": english[200:],
        "xinhua-00000.parquet": chinese,
    }


def context(config: Any, out: Path, **inputs: FolderFiles) -> StepContext[Any]:
    return StepContext(config, inputs, FolderOutput(out), RuntimeConfig(workers=1))


def digests(out: Path) -> dict[str, str]:
    """Content of every published file."""
    records = FolderFiles(out).records()
    return {r.name: hashlib.sha256((out / r.name).read_bytes()).hexdigest() for r in records}


class Serial:
    """Stands in for Ray: runs shards one after the other, with everything pickled on the way.

    Attributes:
        ran: (function, shard) of every shard that was worked on.
        stop_after: Raise `KeyboardInterrupt` after so many shards, as a kill would.
    """

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.stop_after: int | None = None

    def __call__(self, fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
        results = []
        for shard in shards:
            if self.stop_after is not None and len(self.ran) >= self.stop_after:
                raise KeyboardInterrupt
            copies = pickle.loads(pickle.dumps((shard, *args)))
            results.append(pickle.loads(pickle.dumps(fn(*copies))))
            self.ran.append((fn.__name__, str(shard)))
        return results
