"""What a run came to: the JSON that `openseek run --json` ends with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from openseek.artifacts import ArtifactFiles
from openseek.artifacts.files import Json
from openseek.config.pipeline import STAGES
from openseek.pipeline.run import Outcome, Pipeline


def summarise(pipeline: Pipeline, outcomes: Sequence[Outcome]) -> Json:
    """Gather steps, scores, bits per byte and the paths to model and report.

    Model and report are laid out under `.openseek/runs/{run}/`: linked when the store is local,
    fetched when it is not.
    """
    by_node = {o.ref.node: o for o in outcomes}
    evaluated = [s for s in STAGES if f"evaluate-{s}" in by_node]
    metrics = {s: by_node[f"evaluate-{s}"].manifest.metrics for s in evaluated}
    home = Path(".openseek/runs").resolve() / pipeline.config.name
    summary: Json = {
        "run": pipeline.config.name,
        "state": "done",
        "steps": [
            {
                "name": o.ref.node,
                "key": o.ref.key,
                "state": o.state,
                "seconds": round(o.seconds, 3),
                "content_digest": o.ref.content_digest,
            }
            for o in outcomes
        ],
        "scores": {s: m.get("scores", []) for s, m in metrics.items()},
        "headline": {s: m.get("headline") for s, m in metrics.items()},
        "bpb": {s: m.get("bpb", {}) for s, m in metrics.items()},
        "model": "",
        "report": "",
    }
    if "classifier" in by_node:
        summary["agreement"] = by_node["classifier"].manifest.metrics["agreement"]
    if "domains" in by_node:
        summary["domain_agreement"] = by_node["domains"].manifest.metrics["agreement"]
    if "export" in by_node:
        files = pipeline.store.files(by_node["export"].manifest).under("hf/")
        summary["model"] = str(lay_out(files, home / "model"))
    if "report" in by_node:
        files = pipeline.store.files(by_node["report"].manifest)
        summary["report"] = str(lay_out(files, home) / "report.html")
    return summary


def lay_out(files: ArtifactFiles, folder: Path) -> Path:
    """Link an artifact's files into a folder, replacing what was there under these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for record in files.records():
        target = folder / record.name
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}.{os.getpid()}")
        staged.unlink(missing_ok=True)
        staged.symlink_to(files.local(record.name))
        os.replace(staged, target)
    return folder
