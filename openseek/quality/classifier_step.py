"""The `classifier` step: a linear classifier learns the grades of the step `label`."""

from __future__ import annotations

import zlib
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, names
from openseek.config.labelling import ClassifierConfig, LinearTrainingConfig
from openseek.errors import DataError
from openseek.quality.agreement import agreement
from openseek.quality.fluency import primary
from openseek.quality.linear import Sample, train

GRADES = 6
_COLUMNS = ("id", "text", "lang", "grade")


def train_classifier(ctx: StepContext[ClassifierConfig]) -> dict[str, Any]:
    """Train on the input `labels`; write the model; report its agreement with the teacher.

    A document's part (learn, validate, test) follows from its id, so that more labels of the same
    corpus never move a document from one part to another.

    Returns:
        labels, documents, passes, agreement on the test part, over all and by language.

    Raises:
        DataError: A column is missing, or there are too few labels.
    """
    labels = read_labels(ctx.inputs["labels"])
    parts: dict[str, list[dict[str, Any]]] = {"learn": [], "validate": [], "test": []}
    for row in labels["rows"]:
        parts[part_of(row["id"], ctx.config)].append(row)
    samples = {
        part: Sample.of([r["text"] for r in rows], [r["grade"] for r in rows])
        for part, rows in parts.items()
    }
    if not parts["test"]:
        raise DataError(
            f"no label of {len(labels['rows'])} is left to test on", where="train-classifier",
            mend="Label more documents: at least some hundreds.",
        )  # fmt: skip
    model, passes = train(samples["learn"], samples["validate"], ctx.config, GRADES, ctx.seed)
    test = samples["test"]
    scores = model.score_buffer(test.buf, test.offsets)
    langs = np.array([primary(r["lang"]) for r in parts["test"]])
    told = {"all": agreement(test.grades, scores, GRADES, ctx.config.keep_from)}
    for lang in sorted(set(langs.tolist())):
        mine = langs == lang
        told[lang] = agreement(test.grades[mine], scores[mine], GRADES, ctx.config.keep_from)
    about = {"teacher": labels["teachers"], "prompts": labels["prompts"], "agreement": told["all"]}
    model.about.update(about)
    for name, path in model.save(ctx.out.scratch / "classifier").items():
        ctx.out.add(name, path)
    return {
        "teacher": labels["teachers"],
        "prompts": labels["prompts"],
        "labels": labels["labels"],
        "documents": {part: len(rows) for part, rows in parts.items()},
        "grades": np.bincount([r["grade"] for r in labels["rows"]], minlength=GRADES).tolist(),
        "passes": passes,
        "agreement": told,
    }


def read_labels(files: FileSet) -> dict[str, Any]:
    """Read labels; a document with several grades gets their mean, rounded half up.

    Returns:
        rows (id, text, lang, grade), labels (rows read with a grade), teachers, prompts.

    Raises:
        DataError: There is no label, or a column is missing.
    """
    graded: dict[str, list[int]] = defaultdict(list)
    first: dict[str, dict[str, Any]] = {}
    teachers, prompts = set[str](), set[str]()
    found = names(files, "*.parquet")
    if not found:
        raise DataError(
            "no file of labels (.parquet)", where="train-classifier",
            mend="Give the folder that `openseek data label` wrote.",
        )  # fmt: skip
    for name in found:
        table = pq.read_table(files.local(name))
        if missing := [c for c in _COLUMNS if c not in table.column_names]:
            raise DataError(
                f"no column {missing[0]!r}", where=name,
                mend="Labels need id, text, lang and grade, as `openseek data label` writes them.",
            )  # fmt: skip
        for row in table.to_pylist():
            if row["grade"] is None:
                continue
            graded[row["id"]].append(_checked(row["grade"], name))
            first.setdefault(row["id"], {k: row[k] for k in ("id", "text", "lang")})
            teachers.add(row.get("teacher") or "unknown")
            prompts.add(row.get("prompt") or "unknown")
    rows = [row | {"grade": int(np.mean(graded[i]) + 0.5)} for i, row in sorted(first.items())]
    return {
        "rows": rows, "labels": sum(map(len, graded.values())), "teachers": sorted(teachers),
        "prompts": sorted(prompts),
    }  # fmt: skip


def _checked(grade: Any, name: str) -> int:
    if not isinstance(grade, int) or not 0 <= grade < GRADES:
        raise DataError(
            f"grade {grade!r}", where=name, mend=f"Grades are whole numbers, 0 to {GRADES - 1}."
        )
    return grade


def part_of(doc_id: str, config: LinearTrainingConfig) -> str:
    """Tell which part (learn, validate, test) a document is in."""
    at = zlib.crc32(b"part/" + doc_id.encode()) / 2**32
    if at < config.test:
        return "test"
    return "validate" if at < config.test + config.validation else "learn"
