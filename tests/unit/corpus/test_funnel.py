from __future__ import annotations

import random

import numpy as np
import pyarrow as pa

from openseek.corpus.funnel import Funnel, merge_stats


def filled(rows: list[tuple[str, int, int | None]], samples: int = 3) -> Funnel:
    funnel = Funnel(samples)
    for i, (source, came, went) in enumerate(rows):
        funnel.document(source, came, went)
        funnel.sample("r", id=f"{(i * 7919) % 1000:04d}", source=source, text="x" * 1000)
    return funnel


def test_shards_add_up_to_the_whole_in_any_order() -> None:
    draw = random.Random(3)
    rows = [("ab"[i % 2], draw.randrange(5000), draw.choice([None, i])) for i in range(200)]
    whole = filled(rows).stats()
    parts = []
    for start in range(0, 200, 50):
        part = Funnel(3)
        for i in range(start, start + 50):
            part.document(*rows[i])
            part.sample("r", id=f"{(i * 7919) % 1000:04d}", source=rows[i][0], text="x" * 1000)
        parts.append(part.stats())
    draw.shuffle(parts)
    assert merge_stats(parts, 3).stats() == whole


def test_many_documents_count_as_one_by_one() -> None:
    draw = random.Random(4)
    rows = [
        ("ab"[i % 2], draw.choice([0, 1, 2, 255, 256, 257, 5000]), i % 3 > 0) for i in range(99)
    ]
    single, many = Funnel(0), Funnel(0)
    for source, size, stays in rows:
        single.document(source, size, size if stays else None)
    for part in (rows[:40], rows[40:], []):
        sources, sizes, stays = ([row[k] for row in part] for k in range(3))
        many.documents(pa.array(sources, pa.string()), np.array(sizes, np.int64),
                       np.array(stays, np.bool_))  # fmt: skip
    assert many.stats() == single.stats()


def test_lengths_fall_into_bins_of_powers_of_two() -> None:
    funnel = filled([("a", 0, 0), ("a", 1, None), ("a", 2, 2), ("a", 3, 2), ("a", 1024, 1023)])
    found = funnel.metrics()
    assert found["lengths_in"] == {"1": 2, "1024": 1, "2": 2}
    assert found["lengths_out"] == {"1": 1, "2": 2, "512": 1}
    assert (found["documents_in"], found["documents_out"]) == (5, 4)


def test_samples_are_the_smallest_ids_and_cut() -> None:
    rows = filled([("a", 1, 1)] * 100, samples=3).metrics()["samples"]["r"]
    assert [r["id"] for r in rows] == sorted(f"{(i * 7919) % 1000:04d}" for i in range(100))[:3]
    assert {len(r["text"]) for r in rows} == {300}
