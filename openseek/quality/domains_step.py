"""The `domains` step: a linear classifier learns the labels of a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import names
from openseek.config.labelling import DomainClassifierConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import ConfigError, DataError
from openseek.quality.agreement import label_agreement
from openseek.quality.classifier_step import part_of
from openseek.quality.fluency import primary
from openseek.quality.labels import Labelled, draw, is_labelled_file
from openseek.quality.linear import Sample, train
from openseek.quality.scorers import digests


def train_domains(ctx: StepContext[DomainClassifierConfig]) -> dict[str, Any]:
    """Train on labelled rows; write the model; report how it does on rows held out.

    The rows are those of `labels` in the configuration, else of the input `labels`, else of the
    input `documents`. A row's part (learn, validate, test) follows from its id.

    Returns:
        labels, rows (read), skipped (by reason), documents (by part), passes, agreement (see
        `label_agreement`) on the test part, the same by language where the rows tell theirs, and
        the teachers and prompts that the labels come from.

    Raises:
        DataError: A file cannot be read or lacks a column, or there are too few rows or labels.
    """
    config = ctx.config
    drawn = draw(_files(ctx), config)
    labels = sorted({row.label for row in drawn.rows})
    if len(labels) < 2:
        left_out = ", ".join(f"{why} {n}" for why, n in drawn.skipped.items()) or "nothing"
        raise DataError(
            f"{len(labels)} labels with {config.least_rows} rows or more in {drawn.read} rows "
            f"(left out: {left_out})",
            where="train-domains",
            mend="Give labelled rows (.parquet, .jsonl) of two labels or more, look at the column "
            f"that `label` names ({config.label}), or lower least_rows.",
        )
    parts: dict[str, list[Labelled]] = {"learn": [], "validate": [], "test": []}
    for row in drawn.rows:
        parts[part_of(row.id, config)].append(row)
    at = {label: i for i, label in enumerate(labels)}
    samples = {
        part: Sample.of([r.text for r in rows], [at[r.label] for r in rows])
        for part, rows in parts.items()
    }
    model, passes = train(samples["learn"], samples["validate"], config, len(labels), ctx.seed)
    test = samples["test"]
    guessed = model.probabilities(test.buf, test.offsets)
    told = label_agreement(test.grades, guessed, labels)
    summary = {k: v for k, v in told.items() if k not in ("confusion", "labels")}
    origin = {"teacher": sorted(drawn.teachers), "prompts": sorted(drawn.prompts)}
    model.about.update({"labels": labels, "agreement": summary, **origin})
    for name, path in model.save(ctx.out.scratch / "domains").items():
        ctx.out.add(name, path)
    return {
        "labels": labels,
        "rows": drawn.read,
        "skipped": dict(drawn.skipped),
        "documents": {part: len(rows) for part, rows in parts.items()},
        "documents_by_label": dict(sorted(Counter(r.label for r in drawn.rows).items())),
        "passes": passes,
        "agreement": told,
        "agreement_by_lang": _by_lang(parts["test"], test, guessed, labels),
        **origin,
    }


def _by_lang(
    rows: Sequence[Labelled], test: Sample, guessed: NDArray[np.floating], labels: list[str]
) -> dict[str, Any]:
    langs = np.array([primary(row.lang) if row.lang else "" for row in rows])
    told = {}
    for lang in sorted(set(langs.tolist()) - {""}):
        mine = langs == lang
        told[lang] = label_agreement(test.grades[mine], guessed[mine], labels)
    return told


def snapshot(config: DomainClassifierConfig, runtime: RuntimeConfig) -> dict[str, Any]:
    """Identify the labelled rows by their content; empty where they are the run's documents."""
    if not config.labels:
        return {}
    return {"labels": digests(_place(config.labels))}


def _files(ctx: StepContext[DomainClassifierConfig]) -> Iterator[tuple[str, Path]]:
    if ctx.config.labels:
        place = _place(ctx.config.labels)
        found = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
        yield from ((path.name, path) for path in found)
        return
    files = ctx.inputs["labels" if "labels" in ctx.inputs else "documents"]
    yield from ((name, files.local(name)) for name in names(files) if is_labelled_file(name))


def _place(labels: str) -> Path:
    place = Path(labels)
    if not place.exists():
        raise ConfigError(
            "no such file or folder of labels", where=labels,
            mend="Set domain_classifier.labels to it, or leave it out to learn from the documents.",
        )  # fmt: skip
    return place
