"""Answers as a teacher would have given them, for tests of the cascade."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.synthesis import Row, SourceDocument
from openseek.synthesis.drawing import Work
from openseek.synthesis.generate import Outcome
from openseek.synthesis.verification import examine
from openseek.synthesis.writing import publish

DOCUMENT = (
    "Tides are raised by the moon and the sun. Their range depends on the shape of a coast, on the "
    "depth of the water and on the phase of the moon, as harbour masters have noted for centuries."
)
CODE = "Here it is:\n```python\ndef double(x):\n    return 2 * x\n```"
TESTS = "assert double(3) == 6\nassert double(-1) == -2"
RECIPE = RecipeConfig(name="simple_qa")


def qa(n: int, answer: str = "") -> Row:
    said = answer or f"Because basin {n} resonates with the pull of a body, number {n} of its kind."
    return Row(f"Why does harbour number {n} have a tidal range of {n} metres?", said)


def problem(n: int, final: str = "", **given: Any) -> Row:
    steps = (f"Start with {n} boats.", "Twice as many come.", "Add them.")
    said = f"Together there are three times {n} boats. The answer is {3 * n}."
    said = given.pop("answer", said)
    fields = {"final": final or str(3 * n)} | given
    query = f"At harbour {n} there are {n} boats and then twice as many come. How many are there?"
    return Row(query, said, steps, kind="problem", **fields)


def task(n: int, answer: str = CODE, tests: str = TESTS) -> Row:
    query = f"Write a function double that doubles a number, as exercise {n} of chapter {n} asks."
    return Row(query, answer, kind="rl", tests=tests)


def text(n: int) -> Row:
    told = f"The {n}th harbour. " + " ".join(f"Pier {n}-{i} is made of stone." for i in range(6))
    return Row(kind="text", text=told)


def document(i: int) -> SourceDocument:
    return SourceDocument(f"{i:032x}", DOCUMENT, "en", False, "coasts", "CC-BY-4.0", f"d{i % 2}")


def answer(out: FolderOutput, rows: Sequence[Sequence[Row]], config: SynthesisConfig) -> list[Work]:
    """Commit rows as the answers of pieces of two documents each."""
    work = []
    for at in range(0, len(rows), 2):
        item = Work(at // 2, RECIPE, ())
        outcomes = []
        for i, mine in enumerate(rows[at : at + 2], start=at):
            outcome = Outcome(document(i), usage={"requests": 1})
            for row in mine:
                found = examine(row, DOCUMENT, "en", config.verification, copies=False)
                outcome.rows.append((row, found.reason))
                outcome.checks.append({"checks": found.checks, "details": found.details})
            outcomes.append(outcome)
        if item.answers not in out.shards():
            path = out.scratch / f"{item.answers}.jsonl"
            path.write_text("".join(json.dumps(asdict(o)) + "\n" for o in outcomes))
            out.commit_shard(item.answers, {f"{item.answers}.jsonl": path}, final=False)
        work.append(item)
    return work


def run(
    folder: Path, rows: Sequence[Sequence[Row]], config: SynthesisConfig, workers: int = 1,
    **inputs: FolderFiles,
) -> dict[str, Any]:  # fmt: skip
    out = FolderOutput(folder)
    ctx = StepContext(config, inputs, out, RuntimeConfig(workers=workers), seed=5)
    return publish(ctx, answer(out, rows, config))


def rejected(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "rejected.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


class Serial:
    """Stands in for Ray, in any order, and may stop after some pieces."""

    def __init__(self, backwards: bool = False, stop_after: int | None = None) -> None:
        self.backwards, self.stop_after = backwards, stop_after
        self.ran: list[str] = []

    def __call__(self, fn: Any, shards: Any, *, args: Any = (), **_: Any) -> None:
        for shard in reversed(shards) if self.backwards else shards:
            if self.stop_after is not None and len(self.ran) >= self.stop_after:
                raise KeyboardInterrupt
            fn(*pickle.loads(pickle.dumps((shard, *args))))
            self.ran.append(shard.name)
