"""`openseek data label`, `train-…` and `decontaminate`: quality on plain folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from openseek.cli.layers import AsJson, In, Out, Set, Workers, _run, _section


def register(data: typer.Typer) -> None:
    """Add the commands."""
    data.command("label")(label)
    data.command("train-classifier")(train_classifier)
    data.command("train-domains")(train_domains)
    data.command("decontaminate")(decontaminate)


def label(
    input_: In,
    out: Out,
    base_url: Annotated[
        str, typer.Option(help="OpenAI-compatible endpoint; empty: text statistics, offline.")
    ] = "",
    model: Annotated[str, typer.Option(help="Model name at the endpoint.")] = "",
    set_: Set = None,
    workers: Workers = 0,
    json_: AsJson = False,
) -> None:
    """Have a teacher grade a sample of documents from 0 to 5."""
    fixed: dict[str, Any] = {}
    if base_url or model:
        fixed["teacher"] = {"kind": "openai", "base_url": base_url, "model": model}
    section = _section("openseek.config.labelling:LabellingConfig", set_, **fixed)
    _run("openseek.synthesis.labelling:label", section, {"documents": input_}, out, workers, json_)


def train_classifier(
    input_: Annotated[Path, typer.Argument(help="Folder that `openseek data label` wrote.")],
    out: Out,
    set_: Set = None,
    json_: AsJson = False,
) -> None:
    """Train a linear quality classifier on grades; report its agreement with the teacher."""
    section = _section("openseek.config.labelling:ClassifierConfig", set_)
    function = "openseek.quality.classifier_step:train_classifier"
    _run(function, section, {"labels": input_}, out, 1, json_)


def train_domains(
    input_: Annotated[
        Path, typer.Argument(help="Folder with labelled rows: parquet or JSONL (.gz, .zst).")
    ],
    out: Out,
    label: Annotated[
        str, typer.Option(help="Column with the label: domain, source, meta.domain, …")
    ] = "domain",
    text: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    set_: Set = None,
    json_: AsJson = False,
) -> None:
    """Train a linear classifier of domains, or of any other names; report its accuracy."""
    path = "openseek.config.labelling:DomainClassifierConfig"
    section = _section(path, set_, label=label, text=text)
    function = "openseek.quality.domains_step:train_domains"
    _run(function, section, {"labels": input_}, out, 1, json_)


def decontaminate(
    input_: In,
    out: Out,
    against: Annotated[
        Path, typer.Option(help="Folder with evaluation items (parquet, JSONL, .gz, .zst).")
    ],
    set_: Set = None,
    workers: Workers = 0,
    json_: AsJson = False,
) -> None:
    """Drop documents that overlap with evaluation sets."""
    section = _section("openseek.config.quality:DecontaminationConfig", set_)
    inputs = {"documents": input_, "benchmarks": against}
    _run("openseek.quality.step:decontaminate", section, inputs, out, workers, json_)
