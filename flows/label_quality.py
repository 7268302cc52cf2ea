"""The quality classifier: a teacher grades a sample, a linear model learns its grades."""

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
    """Grade a sample of the deduplicated corpus, train the classifier, report its agreement.

    The classifier is an artifact of the run; a scorer of kind `linear` without a model uses it.

    Args:
        config: Path of the YAML configuration.
        run_name: Name of the run; empty takes it from the configuration.
        overrides: Changes, e.g. `labelling.documents=20000`, one a line; without a section
            `labelling` the offline heuristic grades 2,000 documents.
        force: Train again although it is finished; the labels are kept.

    Returns:
        Summary of the run, with the classifier's `agreement` with the teacher.
    """
    changes = overrides or []
    resolved = configure(config, run_name, None, changes)
    if resolved.labelling is None:
        resolved = configure(config, run_name, None, [*changes, "labelling={}"])
    return run_dag(resolved, targets=["classifier"], force=["classifier"] if force else [])
