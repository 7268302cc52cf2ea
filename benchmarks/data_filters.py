"""Rule filters: the Gopher, C4 and FineWeb sets at their published values, beside datatrove.

Everybody reads the same parquet shards, judges each document of prose with the four filters in
datatrove's order, and answers with the ids that stay; nobody writes.

    python benchmarks/data_filters.py ours|datatrove|data_juicer FOLDER
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

HERE = Path(__file__).resolve()
SAMPLE_BYTES = 200_000_000  # datatrove takes some eight minutes for half of it
CATEGORIES = ("foundation", "cot")
Json = dict[str, Any]


def measure(folder: Path, runs: int) -> list[Any]:
    """Compare with datatrove (decisions and time) and data-juicer (time), on a sample of prose."""
    import harness

    with tempfile.TemporaryDirectory() as place:
        n_bytes, n_documents = draw(folder, Path(place))
        mine = harness.ours(HERE, "ours", place)
        peers = [
            harness.peer("datatrove", HERE, "datatrove", place, package="datatrove, spacy"),
            harness.peer("data-juicer", HERE, "data_juicer", place, package="data_juicer"),
        ]
        return harness.compare(
            "filters",
            mine,
            peers,
            n_bytes=n_bytes,
            n_documents=n_documents,
            runs=runs,
            agree=agreement,
        )


def draw(folder: Path, place: Path) -> tuple[int, int]:
    """Write evenly spread documents of prose into one file; return bytes and documents."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts: list[str] = []
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, columns=["text", "category"])
        texts += [r["text"] for r in table.to_pylist() if r["category"] in CATEGORIES]
    size = sum(len(t.encode()) for t in texts)
    texts = texts[:: max(1, round(size / SAMPLE_BYTES))]
    pq.write_table(pa.table({"text": texts}), place / "sample.parquet", row_group_size=2000)
    return sum(len(t.encode()) for t in texts), len(texts)


def agreement(ours: Json, theirs: Json) -> Json:
    """Compare decisions, where the peer applies the same rules."""
    if "decisions" not in theirs:
        return {"kept_ours": ours["kept"], "kept_theirs": theirs["kept"], "rules": "not the same"}
    same = sum(a == b for a, b in zip(ours["decisions"], theirs["decisions"], strict=True))
    differ: dict[str, int] = {}
    for a, b, why in zip(ours["decisions"], theirs["decisions"], ours["reasons"], strict=True):
        if a != b:
            differ[why or "kept"] = differ.get(why or "kept", 0) + 1
    return {"decisions": round(same / len(ours["decisions"]), 5), "differ_by_our_reason": differ}


def batches(folder: Path) -> Iterator[list[str]]:
    """Read the sample, a row group at a time."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(folder / "sample.parquet").iter_batches(2000):
        yield batch["text"].to_pylist()


def ours(folder: Path) -> Json:
    """Judge with the preset `datatrove`, all else switched off."""
    from openseek.cleaning import Cleaner
    from openseek.config.cleaning import CleaningConfig

    off = {"enabled": False}
    as_it_is = dict.fromkeys(("nfc", "control", "line_ends", "mojibake"), False)
    config = CleaningConfig(
        preset="datatrove",
        normalise=as_it_is,
        language=off,
        simplify=off,
        words={"lists": []},
        pii=off,
    )
    cleaner = Cleaner(config)
    reasons: list[str] = []
    for texts in batches(folder):
        n = len(texts)
        found = cleaner.clean(texts, ["en"] * n, ["foundation"] * n)
        reasons += [result.reason for result in found]
    kept = [not reason for reason in reasons]
    return {"kept": sum(kept), "decisions": kept, "reasons": reasons}


def datatrove(folder: Path) -> Json:
    """Judge with datatrove's filters, one after another, as a pipeline does."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    filters = [
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(),
        FineWebQualityFilter(),
    ]
    kept = []
    for texts in batches(folder):
        for text in texts:
            document = Document(text=text, id="")
            kept.append(bool(text) and all(f.filter(document) is True for f in filters))
    return {"kept": sum(kept), "decisions": kept}


def data_juicer(folder: Path) -> Json:
    """Judge with the nearest of data-juicer's filters, at their default values."""
    from data_juicer.ops.filter.alphanumeric_filter import AlphanumericFilter
    from data_juicer.ops.filter.average_line_length_filter import AverageLineLengthFilter
    from data_juicer.ops.filter.character_repetition_filter import CharacterRepetitionFilter
    from data_juicer.ops.filter.maximum_line_length_filter import MaximumLineLengthFilter
    from data_juicer.ops.filter.special_characters_filter import SpecialCharactersFilter
    from data_juicer.ops.filter.text_length_filter import TextLengthFilter
    from data_juicer.ops.filter.word_repetition_filter import WordRepetitionFilter
    from data_juicer.ops.filter.words_num_filter import WordsNumFilter
    from data_juicer.utils.constant import Fields

    filters = [
        AlphanumericFilter(), AverageLineLengthFilter(), CharacterRepetitionFilter(),
        MaximumLineLengthFilter(), SpecialCharactersFilter(), TextLengthFilter(),
        WordRepetitionFilter(), WordsNumFilter(),
    ]  # fmt: skip
    kept = 0
    for texts in batches(folder):
        n = len(texts)
        samples: Json = {"text": texts, Fields.stats: [{} for _ in range(n)]}
        good = [True] * n
        for one in filters:
            samples = one.compute_stats_batched(samples)
            good = [a and b for a, b in zip(good, one.process_batched(samples), strict=True)]
        kept += sum(good)
    return {"kept": kept}


if __name__ == "__main__":
    answer = {"ours": ours, "datatrove": datatrove, "data_juicer": data_juicer}[sys.argv[1]](
        Path(sys.argv[2])
    )
    print(json.dumps(answer))
