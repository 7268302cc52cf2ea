"""Where it all comes from: export check, lineage, machine, configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from openseek.report import fmt
from openseek.report.collect import started_at
from openseek.report.html import Html, fold, h, join, section, table
from openseek.report.record import RunRecord, dig, mapping
from openseek.report.sections.common import facts

CONFIG_LIMIT = 200_000  # characters of configuration that are shown


def export(run: RunRecord) -> Html:
    """Render what was exported and whether its logits are ours."""
    step = run.step("export")
    if step is None or not step.metrics:
        return section("export", "Export")
    m = step.metrics
    parity = mapping(m, "parity") or m
    worst = fmt.number(dig(parity, "max_abs_logit_diff", "max_abs_diff"))
    same = dig(parity, "argmax_agreement", "argmax_equal", "top1_agreement", "agreement")
    body = [
        [f.get("name"), fmt.size(f.get("size")), h("code", fmt.short(f.get("sha256"), 16))]
        for f in step.files
    ]
    return section(
        "export",
        "Export",
        facts(
            ("architecture", dig(m, "architecture", "model_type")),
            ("largest difference of logits", fmt.compact(worst) if worst is not None else None),
            ("same next token", fmt.percent(same, 2) if fmt.number(same) is not None else same),
            ("tokens compared", _exact(dig(parity, "tokens", "n_tokens", "positions"))),
            ("checked with", dig(parity, "against", "with", "transformers")),
            ("parameters", _exact(dig(m, "parameters_total", "parameters.total"))),
        ),
        table(["file", "size", "sha256"], body, text=(0, 2)) if body else None,
        lead="A Hugging Face folder that transformers loads; its logits are compared with ours.",
    )


def _exact(value: Any) -> str | None:
    return fmt.exact(value) if fmt.number(value) is not None else None


def lineage(run: RunRecord) -> Html:
    """Render which attempt made each artifact, from what code, where and when."""
    made = [s for s in run.steps if s.lineage]
    if not made:
        return section("lineage", "Lineage")
    body = []
    for s in made:
        p = mapping(s.lineage, "provenance")
        body.append(
            [
                s.name,
                dig(s.lineage, "version"),
                h("code", fmt.short(s.key or dig(s.lineage, "key"), 12)),
                h("code", fmt.short(dig(s.lineage, "content_digest", "digest"), 12)),
                h("code", fmt.short(dig(p, "attempt"), 8)),
                h("code", fmt.clip(dig(p, "git_revision") or fmt.DASH, 20)),
                dig(p, "host") or fmt.DASH,
                started_at(s).replace("T", " ").replace("+00:00", "") or fmt.DASH,
                fmt.duration(s.seconds),
            ]
        )
    head = [
        "step",
        "version",
        "key",
        "digest",
        "attempt",
        "revision",
        "host",
        "started, UTC",
        "time",
    ]
    return section(
        "lineage",
        "Lineage",
        table(head, body, text=(0, 2, 3, 4, 5, 6, 7)),
        lead="The key is what was asked for (code version, parameters, digests of the inputs), the "
        "digest is what came out. The same key anywhere means that nothing is computed again.",
    )


def machine(run: RunRecord) -> Html:
    """Render the machine and the versions of what ran on it."""
    if not run.machine:
        return section("machine", "Machine")
    flat: list[tuple[str, Any]] = []
    for key, value in run.machine.items():
        label = key.replace("_", " ")
        if isinstance(value, Mapping):
            flat.append((label, join([f"{k} {v}" for k, v in sorted(value.items())], ", ")))
        elif key.endswith("_bytes") or key == "memory":
            flat.append(
                (
                    label.removesuffix(" bytes"),
                    fmt.size(value) if fmt.number(value) is not None else value,
                )
            )
        else:
            flat.append((label, str(value)))
    return section("machine", "Machine", facts(*flat))


def configuration(run: RunRecord) -> Html:
    """Render the resolved configuration in full, folded away."""
    if not run.config:
        return section("config", "Configuration")
    text = json.dumps(run.config, ensure_ascii=False, indent=2, default=str)
    parts = [
        fold(join([str(k), h("small", _size(v))]), h("pre", _dump(v)))
        for k, v in run.config.items()
        if isinstance(v, dict | list) and v
    ]
    plain = [(k, str(v)) for k, v in run.config.items() if not (isinstance(v, dict | list) and v)]
    return section(
        "config",
        "Configuration",
        facts(*plain),
        parts,
        fold(join(["All of it, as JSON"]), h("pre", fmt.clip(text, CONFIG_LIMIT))),
        lead="The resolved configuration, with every default written out.",
    )


def _dump(value: Any) -> str:
    return fmt.clip(json.dumps(value, ensure_ascii=False, indent=2, default=str), CONFIG_LIMIT // 4)


def _size(value: Any) -> str:
    return f"{len(value)} entries" if len(value) != 1 else "1 entry"
