"""Classifiers from a teacher: it grades a sample and names domains, linear models learn both."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.engine import configure, run_dag


@flow(name="label-quality", log_prints=False)
def label_quality(
    config: str = "configs/demo.yaml",
    run_name: str = "",
    overrides: list[str] | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Label a sample of the deduplicated corpus, train the classifiers, report their agreement.

    The classifiers are artifacts of the run: a scorer of kind `linear` without a model uses that of
    grades, the domain labels use that of domains (trained where `labelling.prompts` has `domain`
    and there is a section `domain_classifier`).

    Args:
        config: Path of the YAML configuration.
        run_name: Name of the run; empty takes it from the configuration.
        overrides: Changes, e.g. `labelling.documents=20000`, one a line; without a section
            `labelling` the offline heuristic grades 2,000 documents.
        force: Train again although it is finished; the labels are kept.

    Returns:
        Summary of the run, with the classifiers' `agreement` with the teacher.
    """
    changes = overrides or []
    resolved = configure(config, run_name, None, changes)
    if resolved.labelling is None:
        resolved = configure(config, run_name, None, [*changes, "labelling={}"])
    made = ["classifier"] if resolved.labelling is None or resolved.labelling.rubrics else []
    made += ["domains"] if resolved.learns_from_teacher() else []
    return run_dag(resolved, targets=made or ["label"], force=made if force else [])
