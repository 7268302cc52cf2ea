"""How the data steps scale: the same work on 20, 200 and 2,000 MB of text, with two workers.

Each step runs as a user runs it, `openseek data clean IN OUT`, a whole process from its start with
Ray to its end. The corpora are those of `corpora.py`, in shards of 10 MB; what finds duplicates
gets the shuffled one. A row has MB per CPU-second, and in `agreement` seconds, MB/s, the seconds a
MB relative to those of the size before it (1: linear), and the peaks of the largest worker, of the
driver, and of all processes together. Memory is resident memory as the kernel counts it, so pages
of shared libraries count in every process. `--limit` makes a worker above so many MB an error; an
rlimit would not do, since compiled code and Arrow reserve addresses that they never touch.

    python benchmarks/data_scale.py FOLDER [--size MB]... [--step NAME]... [--limit MB]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import corpora
import harness

SIZES_MB = (20, 200, 2000)
WORKERS = 2


@dataclass(frozen=True)
class Step:
    """A step to run.

    Attributes:
        command: Words after `openseek data`; `{in}`, `{items}` and `{out}` stand for folders.
        shuffled: It looks for duplicates, so the copies must not be any.
    """

    command: tuple[str, ...]
    shuffled: bool = False


STEPS = {
    "clean": Step(("clean", "{in}", "{out}")),
    "dedup, exact": Step(("minhash", "{in}", "{out}", "--set", "near=false"), True),
    "dedup, exact and near": Step(("minhash", "{in}", "{out}"), True),
    "exact substrings": Step(("exact-substring", "{in}", "{out}"), True),
    "quality": Step(("score", "{in}", "{out}")),
    "decontamination": Step(("decontaminate", "{in}", "{out}", "--against", "{items}")),
}


def measure(folder: Path, runs: int = 1) -> list[harness.Row]:
    """Run every step on every size, once: the sizes are what is repeated here."""
    return scale(folder, list(STEPS), SIZES_MB)


def scale(
    folder: Path,
    steps: Sequence[str],
    sizes_mb: Sequence[int],
    shard_bytes: int = corpora.SHARD_BYTES,
    keep: Path | None = None,
) -> list[harness.Row]:
    """Run some steps on corpora of some sizes, smallest first.

    Args:
        folder: Document shards to make them from.
        steps: Names in `STEPS`.
        sizes_mb: Sizes of the text, in MB.
        shard_bytes: Text of a shard.
        keep: Folder in which the corpora stay for the next time; None: they are removed.
    """
    table = corpora.read(folder)
    found: list[harness.Row] = []
    with tempfile.TemporaryDirectory() as work:
        items = Path(work) / "items"
        corpora.write_items(table, items)
        for size in sorted(sizes_mb):
            for shuffled in (False, True):
                names = [s for s in steps if STEPS[s].shuffled == shuffled]
                if not names:
                    continue
                corpus = (keep or Path(work)) / f"{size}-{'shuffled' if shuffled else 'repeated'}"
                if not corpus.exists():
                    corpora.write(
                        table, corpus, size * 1_000_000, shuffle=shuffled, shard_bytes=shard_bytes
                    )
                for name in names:
                    row = _row(name, corpus, items, size, found)
                    found.append(row)
                    note = f"{row.work}: {row.ours:.2f} {row.unit} {json.dumps(row.agreement)}"
                    print(note, file=sys.stderr, flush=True)
                if keep is None:
                    shutil.rmtree(corpus)
    return sorted(found, key=lambda r: list(STEPS).index(r.work.rpartition(", ")[0]))


def _row(
    name: str, corpus: Path, items: Path, size_mb: int, before: list[harness.Row]
) -> harness.Row:
    places = {"{in}": str(corpus), "{items}": str(items)}
    words = [places.get(word, word) for word in STEPS[name].command]
    command = (sys.executable, "-m", "openseek.cli.main", "data", *words, "--json")
    usage = harness.run(
        harness.Contender("openseek", (*command, "--workers", str(WORKERS))),
        items.parent / "log",
    )
    n_bytes = usage.answer["bytes_in"]
    mb = n_bytes / 1e6
    smaller = [r for r in before if r.work.rpartition(", ")[0] == name]
    seconds = usage.wall_s / mb
    figures = {
        "seconds": round(usage.wall_s, 1),
        "MB/s": round(1 / seconds, 2),
        "seconds a MB, to the size before": (
            round(seconds * smaller[-1].agreement["MB/s"], 2) if smaller else None
        ),
        "worker MB": round(usage.worker_peak_bytes / 1e6),
        "driver MB": round(usage.root_peak_bytes / 1e6),
        "all MB": round(usage.peak_bytes / 1e6),
    }
    runs = {
        "bytes": n_bytes,
        "documents": usage.answer["documents_in"],
        "ours": harness.figures([usage]),
    }
    return harness.Row(
        f"{name}, {size_mb:,} MB", "", mb / usage.cpu_s, None, "MB/CPU-s", None, figures, runs
    )


def main() -> None:
    """Run chosen steps and sizes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="Folder of document shards (parquet).")
    parser.add_argument("--size", type=int, action="append", help="MB of text; repeatable.")
    parser.add_argument("--step", choices=list(STEPS), action="append", help="Repeatable.")
    parser.add_argument("--shard", type=float, default=corpora.SHARD_BYTES / 1e6, help="MB.")
    parser.add_argument("--limit", type=int, help="Fail if a worker's peak is above it, in MB.")
    parser.add_argument("--keep", type=Path, help="Folder in which the corpora stay.")
    parser.add_argument("--json", action="store_true", help="Print a list of objects.")
    given = parser.parse_args()
    rows = scale(
        given.folder, given.step or list(STEPS), given.size or SIZES_MB, int(given.shard * 1e6),
        given.keep,
    )  # fmt: skip
    if given.json:
        print(json.dumps([r.to_json() for r in rows], ensure_ascii=False))
    else:
        print(harness.table(rows))
    over = [r.work for r in rows if given.limit and r.agreement["worker MB"] > given.limit]
    if over:
        sys.exit(f"a worker had more than {given.limit} MB: {'; '.join(over)}")


if __name__ == "__main__":
    main()
