"""What a run would do, before it does anything: `openseek plan`.

A node is `hit` when its artifact is there, `stale` when the run has an older one that its change
or an upstream change puts out of use, `to do` when there is none. Behind a node that is not a hit
no key is known yet: if it turns out with the same content, what follows is still a hit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any

from openseek.artifacts.files import Json
from openseek.config.labelling import LabellingConfig
from openseek.config.model import ExportConfig, ModelConfig
from openseek.config.pipeline import PipelineConfig
from openseek.config.sources import SourceConfig
from openseek.config.synthesis import SynthesisConfig
from openseek.config.training import TrainStepConfig
from openseek.pipeline.dag import Node, select
from openseek.pipeline.run import Outcome, Pipeline, Ref

# Share of all cores' measured fp32 matrix-multiplication rate that a training stage reaches on a
# CPU, start-up included (`make demo`: .78, in bf16); used as long as the store has no run to go by.
TRAIN_EFFICIENCY = 0.6

# Step -> (seconds, seconds per MB of source text; bytes, bytes per byte of source text), measured
# with `make demo` on two cores (29 MB). A guess for the first run; then the store knows better.
TYPICAL = {
    "benchmarks": (3.0, 0.0, 2e5, 0.0),
    "ingest": (5.0, 0.7, 0.0, 0.29),
    "clean": (2.0, 0.06, 0.0, 0.25),
    "dedup": (1.5, 0.06, 0.0, 0.24),
    "label": (5.0, 0.02, 5e6, 0.0),
    "classifier": (8.0, 0.0, 1.3e7, 0.0),
    "domains": (6.0, 0.05, 9e6, 0.0),
    "score": (1.5, 0.09, 0.0, 0.24),
    "split": (0.2, 0.02, 0.0, 0.24),
    "decontaminate": (1.0, 0.02, 0.0, 0.23),
    "synthesise": (2.0, 0.07, 0.0, 0.03),
    "tokenizer": (2.0, 0.15, 3e5, 0.0),
    "tokenise": (3.0, 0.2, 0.0, 0.55),
    "mix": (0.1, 0.0, 6e3, 0.0),
    "evaluate": (13.0, 0.0, 2e5, 0.0),
    "export": (8.5, 0.0, 0.0, 0.0),
    "report": (0.5, 0.0, 1e6, 0.0),
}


def make_plan(config: PipelineConfig, force: Sequence[str] = ()) -> Json:
    """Resolve every node against the store, without computing or fetching anything.

    Returns:
        Config (whole, and what differs from the defaults), and for each node its state, reason,
        tokens, FLOPs, bytes and estimated seconds; `asked`: what it would ask of a teacher.
    """
    offline = config.model_copy(
        update={"runtime": config.runtime.model_copy(update={"offline": True})}
    )
    pipeline = Pipeline(offline, dict.fromkeys(force, "forced"))
    select(pipeline.nodes, force)
    history = _history(pipeline)
    refs: dict[str, Ref] = {}
    rows = []
    for node in pipeline.nodes:
        row, outcome = _resolve(pipeline, node, refs)
        if outcome is not None:
            refs[node.name] = outcome.ref
        row |= _cost(pipeline, node, outcome, history)
        if outcome is None and (asked := _asked(pipeline, node, refs)) is not None:
            row["asked"] = asked
        rows.append(row)
    todo = [r for r in rows if r["state"] != "hit"]
    return {
        "run": config.name,
        "store": pipeline.store.root,
        "config": config.model_dump(mode="json"),
        "changed": config.model_dump(mode="json", exclude_defaults=True),
        "steps": rows,
        "seconds": sum(r["seconds"] or 0.0 for r in todo),
        "flops": sum(r["flops"] or 0.0 for r in todo),
        "tokens": sum(r["tokens"] or 0 for r in todo if r["kind"] == "train"),
    }


def _resolve(
    pipeline: Pipeline, node: Node, refs: Mapping[str, Ref]
) -> tuple[dict[str, Any], Outcome | None]:
    row: dict[str, Any] = {
        "name": node.name,
        "kind": node.kind,
        "about": node.about,
        "inputs": sorted({i.node for i in node.inputs.values()}),
        "key": "",
    }
    unknown = [n for n in row["inputs"] if n not in refs]
    before = pipeline.store.read_ref(pipeline.config.name, node.name)
    if unknown:
        state = "stale" if before else "to do"
        return {**row, "state": state, "reason": f"after {', '.join(unknown)}"}, None
    spec = pipeline.spec(*pipeline.with_checkpoints(node, refs))
    row["key"] = spec.key
    found = pipeline.store.find(spec)
    if found is not None:
        ref = Ref(node.name, found.step, found.key, found.content_digest)
        return {**row, "state": "hit", "reason": ""}, Outcome(ref, "cached", 0.0, found)
    if node.name in pipeline.force:
        return {**row, "state": "stale" if before else "to do", "reason": "forced"}, None
    if before is None:
        return {**row, "state": "to do", "reason": "not done yet"}, None
    if before["key"] == spec.key:
        return {**row, "state": "stale", "reason": "its files are gone or damaged"}, None
    return {**row, "state": "stale", "reason": "its params or inputs changed"}, None


def _asked(pipeline: Pipeline, node: Node, refs: Mapping[str, Ref]) -> Json | None:
    """Estimate what a step would ask of a teacher, from its documents where they lie here."""
    if not isinstance(node.config, SynthesisConfig | LabellingConfig):
        return None
    from openseek.synthesis.projection import project

    source, files = node.inputs["documents"], None
    if source.node in refs and pipeline.store.backend.local("") is not None:
        ref = refs[source.node]
        manifest = pipeline.store.manifest(ref.step, ref.key)
        files = pipeline.store.files(manifest).under(source.prefix)
    return project(node.config, files)


def _history(pipeline: Pipeline) -> dict[str, Json]:
    """Find the latest finished artifact of each node name, for its duration and size."""
    latest: dict[str, Json] = {}
    for manifest in sorted(
        pipeline.store.manifests(), key=lambda m: m.provenance.get("started", 0.0)
    ):
        entry = {
            "seconds": manifest.provenance.get("seconds"),
            "bytes": manifest.size,
            "tokens": manifest.params.get("config", {}).get("tokens"),
        }
        latest[manifest.provenance.get("node", manifest.step)] = entry
    return latest


def _cost(
    pipeline: Pipeline, node: Node, outcome: Outcome | None, history: Mapping[str, Json]
) -> dict[str, Any]:
    past = history.get(node.name, {})
    cost: dict[str, Any] = {"tokens": None, "flops": None, "bytes": past.get("bytes")}
    cost["seconds"] = past.get("seconds")
    cost["basis"] = "last time" if past else "none"
    if not past and (typical := _typical(node.kind, pipeline.config)) is not None:
        cost |= typical
    if outcome is not None:
        cost["bytes"] = outcome.manifest.size
        cost["seconds"] = outcome.manifest.provenance.get("seconds")
    if isinstance(node.config, TrainStepConfig):
        cost |= _training_cost(pipeline, node.config, past)
    if isinstance(node.config, ExportConfig) and not past:
        width = 2 if node.config.dtype == "bfloat16" else 4
        cost["bytes"] = width * _parameters(pipeline.config)[0]
    return cost


def _parameters(config: PipelineConfig) -> tuple[int, int]:
    """Count the model's parameters: all, and those active for a token."""
    from openseek.model.config import count_parameters

    return count_parameters(_model(config))


def _model(config: PipelineConfig) -> ModelConfig:
    vocab = config.model.vocab_size or config.tokenizer.vocab_size
    return config.model.model_copy(update={"vocab_size": vocab})


def _typical(kind: str, config: PipelineConfig) -> dict[str, Any] | None:
    """Guess seconds and bytes of a step from the size of the sources, where that is known."""
    if kind not in TYPICAL:
        return None
    fixed_s, s_per_mb, fixed_bytes, share = TYPICAL[kind]
    sizes = [_source_bytes(s) for s in config.sources if not s.fallback]
    known = [s for s in sizes if s is not None]
    if not known and (s_per_mb or share):
        return None
    # The mean stands for a source of unknown size.
    text = sum(known) / len(known) * len(sizes) if known else 0.0
    return {
        "seconds": fixed_s + s_per_mb * text / 1e6,
        "bytes": round(fixed_bytes + share * text) or None,
        "basis": "typical",
    }


def _source_bytes(source: SourceConfig) -> int | None:
    """Return the text that a source gives at most, in bytes; None: not known before it is read."""
    if source.max_bytes is not None or not source.path:
        return source.max_bytes
    paths = [Path(p) for pattern in source.path for p in glob(pattern)]
    files = [f for p in paths for f in (p.rglob("*") if p.is_dir() else [p]) if f.is_file()]
    return sum(f.stat().st_size for f in files) or None


def _training_cost(pipeline: Pipeline, config: TrainStepConfig, past: Json) -> dict[str, Any]:
    from openseek.model.config import flops_per_token

    flops = flops_per_token(_model(pipeline.config), config.sequence_length) * config.tokens
    total, active = _parameters(pipeline.config)
    cost: dict[str, Any] = {
        "tokens": config.tokens,
        "flops": flops,
        "parameters": total,
        "active_parameters": active,
    }
    if not past:
        cost["bytes"] = 12 * total  # the weights and AdamW's two moments in fp32
    if past.get("seconds") and past.get("tokens"):
        cost["seconds"] = past["seconds"] * config.tokens / past["tokens"]
    else:
        cost["seconds"] = flops / (TRAIN_EFFICIENCY * _matmul_flops_per_s())
        cost["basis"] = "calibrated"
    return cost


@cache
def _matmul_flops_per_s() -> float:
    """Measure fp32 matrix multiplication on all cores, about a tenth of a second."""
    import numpy as np

    size = 768
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    a @ a
    best = min(_timed(lambda: a @ a) for _ in range(5))
    cores = os.cpu_count() or 1
    threads = int(os.environ.get("OMP_NUM_THREADS", "") or cores)  # training has a rank a core
    return 2 * size**3 / best * max(1.0, cores / threads)


def _timed(call: Any) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
