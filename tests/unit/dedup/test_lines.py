import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shard_runs import backwards, context, digests, document, serial, write_shards

from openseek.config.lines import LinesConfig
from openseek.dedup import passes
from openseek.dedup.lines import remove_lines

LINES = st.sampled_from(["", "a", "A ", "Cookie policy", "天地", "😀", "שלום", "one more line"])


def run(texts: list[str], folder: Path, order: Any = serial, **fields: Any) -> tuple[Any, Any, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    rows = [document(t, f"{i:03d}") for i, t in enumerate(texts)]
    half = len(rows) // 2
    files = write_shards(folder / "in", [rows[:half], rows[half:]])
    config = LinesConfig(**{"min_bytes": 1, "max_copies": 1, **fields})
    with mock.patch.object(passes, "map_shards", order):
        metrics = remove_lines(context(files, folder / "out", config))
    shards = (folder / "out").glob("*.parquet")
    left = {r["origin"]: r["text"] for s in shards for r in pq.read_table(s).to_pylist()}
    return {int(k): v for k, v in left.items()}, metrics, digests(folder / "out")


def naive(texts: list[str], separator: str, copies: int, keep: str, min_bytes: int) -> dict:
    def fold(piece: str) -> bytes:
        return b" ".join(piece.encode().lower().split())

    rows = [[p + separator for p in t.split(separator)] for t in texts]
    rows = [[*r[:-1], *([r[-1][: -len(separator)]] if r[-1] != separator else [])] for r in rows]
    total = Counter(fold(p) for r in rows for p in r if len(p.encode()) >= min_bytes)
    seen: Counter = Counter()
    left = {}
    for i, row in enumerate(rows):
        out = []
        for piece in row:
            gone = False
            if len(piece.encode()) >= min_bytes:
                seen[fold(piece)] += 1
                often = total[fold(piece)] > copies
                gone = often and (keep == "none" or seen[fold(piece)] > copies)
            out.append("" if gone else piece)
        text = "".join(out)
        if text == texts[i] or text.strip():
            left[i] = text
    return left


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(LINES, max_size=6).map("\n".join), max_size=6),
    st.integers(1, 3),
    st.sampled_from(["first", "none"]),
    st.sampled_from([1, 8]),
)
def test_the_same_lines_as_a_naive_count(
    tmp_path_factory: pytest.TempPathFactory, texts, copies, keep, min_bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "lines"
    left, metrics, _ = run(texts, folder, max_copies=copies, keep=keep, min_bytes=min_bytes)
    assert left == naive(texts, "\n", copies, keep, min_bytes)
    assert metrics["documents_out"] == len(left)


def test_paragraphs(tmp_path) -> None:
    texts = ["one\ntwo\n\nthree\n\n\nfour", "x\n\nThree\n\ny", "one\ntwo", "two\n\nz"]
    left, metrics, _ = run(texts, tmp_path, unit="paragraph")
    assert left == {0: texts[0], 1: "x\n\ny", 3: texts[3]}
    assert metrics["lines"] == {"compared": 9, "removed": 2}
    assert (metrics["changed"], metrics["dropped"]) == ({"lines": 1}, {"lines": 1})


@pytest.mark.parametrize("partitions", [1, 4])
def test_order_of_work_does_not_change_the_bytes(tmp_path, partitions) -> None:
    texts = [f"menu\nline {i % 7}\nown {i}\nfooter" for i in range(60)]
    first = run(texts, tmp_path / "a", max_copies=3)
    assert run(texts, tmp_path / "b", backwards, max_copies=3, partitions=partitions) == first
    assert first[1]["lines"]["removed"] == 2 * 57 + 60 - 21
