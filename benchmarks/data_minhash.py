"""MinHash deduplication: finding alone against rensa, the whole step against datatrove.

Two truths judge them. Copies of real documents with a known share of words changed are planted; a
planted pair counts as found when both are in one cluster. And all pairs with a Jaccard similarity
of .7 or more are found without MinHash (`similar.py`): recall is the share of them in one cluster,
precision the share of what is in one cluster that is so similar.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import similar

PROGRAM = Path(__file__).parent / "programs" / "near.py"
EDITS = {"exact": 0.0, "1%": 0.01, "3%": 0.03, "10%": 0.1}
PLANTED = 400
"""Copies of each kind; the standard error of a recall of .9 is then .015."""


def measure(folder: Path, runs: int = 3) -> list[harness.Row]:
    """Compare on the folder's documents and the planted ones."""
    with tempfile.TemporaryDirectory() as work:
        corpus, results = Path(work) / "in", Path(work)
        planted = plant(folder, corpus)
        n_bytes, n_documents = size(corpus)
        sets = similar.sets_of(corpus)
        truth = Truth(planted, sets, similar.similar_pairs(sets, similar.LEVELS[0]))
        rows = []
        for ours, peers in (("find", ["rensa"]), ("step", ["datatrove"])):
            mine = harness.ours(PROGRAM, ours, str(corpus), str(results / f"{ours}.json"))
            others = [
                harness.peer(p, PROGRAM, p, str(corpus), str(results / f"{p}.json"), package=p)
                for p in peers
            ]
            rows += harness.compare(
                f"minhash: {ours}", mine, others, n_bytes=n_bytes, n_documents=n_documents,
                runs=runs, agree=lambda a, b: {"ours": truth.judge(a), "theirs": truth.judge(b)},
            )  # fmt: skip
        return rows


@dataclass(frozen=True)
class Truth:
    """What is to be found.

    Attributes:
        planted: Kind of edit -> pairs of ids, the original and its copy.
        sets: The shingles of all documents.
        pairs: The similar pairs.
    """

    planted: Mapping[str, Sequence[tuple[str, str]]]
    sets: similar.Sets
    pairs: Mapping[similar.Pair, float]

    def judge(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return recall and precision of a program's answer."""
        linked = json.loads(Path(answer["result"]).read_text(encoding="utf-8"))
        everything = {**self.planted, "all": [p for ps in self.planted.values() for p in ps]}
        together = {
            kind: sum(linked.get(a, a) == linked.get(b, b) for a, b in pairs) / max(1, len(pairs))
            for kind, pairs in everything.items()
        }
        return {
            "planted": {kind: round(share, 3) for kind, share in together.items()},
            "recall": similar.recall(linked, self.sets, self.pairs),
            "precision": similar.precision(linked, self.sets),
            "similar": len(self.pairs),
            "linked": len(linked),
        }


def plant(folder: Path, out: Path) -> dict[str, list[tuple[str, str]]]:
    """Copy a folder of shards and add a shard of edited documents; return pairs of ids by kind."""
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("_*", ".*"))
    rng = random.Random(7)
    tables = [pq.read_table(p) for p in sorted(out.glob("*.parquet"))]
    chosen: list[dict[str, Any]] = []
    for table in tables:
        length = pc.binary_length(table["text"])
        fit = pc.indices_nonzero(pc.and_(pc.greater(length, 600), pc.less(length, 20_000)))
        places = fit.to_pylist()
        rng.shuffle(places)
        chosen += table.take(pa.array(sorted(places[:400]), pa.int64())).to_pylist()
    rng.shuffle(chosen)
    truth: dict[str, list[tuple[str, str]]] = {kind: [] for kind in EDITS}
    copies = []
    for i, row in enumerate(chosen[: PLANTED * len(EDITS)]):
        kind = list(EDITS)[i % len(EDITS)]
        copy = {**row, "id": f"{i:032x}", "text": edit(row["text"], EDITS[kind], rng)}
        copies.append(copy)
        truth[kind].append((row["id"], copy["id"]))
    table = pa.Table.from_pylist(copies, schema=tables[0].schema)
    pq.write_table(table, out / "planted.parquet")
    return truth


def edit(text: str, share: float, rng: random.Random) -> str:
    """Replace a share of a text's words by words of the same text."""
    words = list(similar.WORD.finditer(text))
    parts, end = [], 0
    chosen = rng.sample(range(len(words)), round(share * len(words)))
    for i in sorted(chosen):
        parts += [text[end : words[i].start()], rng.choice(words).group()[::-1]]
        end = words[i].end()
    return "".join(parts) + text[end:]


def size(folder: Path) -> tuple[int, int]:
    """Return bytes of text and number of documents."""
    columns = [pq.read_table(p, columns=["text"])["text"] for p in sorted(folder.glob("*.parquet"))]
    return sum(pc.sum(pc.binary_length(c)).as_py() or 0 for c in columns), sum(map(len, columns))
