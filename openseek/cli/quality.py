"""`openseek data score`, `label`, `train-…` and `decontaminate`: quality on plain folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from openseek.cli.layers import (
    AsJson,
    Category,
    In,
    Lang,
    Out,
    Set,
    Text,
    Workers,
    _endpoint,
    _on_documents,
    _run,
    _section,
)


def register(data: typer.Typer) -> None:
    """Add the commands."""
    data.command("score")(score)
    data.command("label")(label)
    data.command("train-classifier")(train_classifier)
    data.command("train-domains")(train_domains)
    data.command("decontaminate")(decontaminate)


def score(
    input_: In,
    out: Out,
    model: Annotated[
        str,
        typer.Option(
            help="Model to score with beside the text statistics: a folder that train-classifier "
            "wrote, a fastText file (.bin, .ftz), a folder or hub id of a transformer."
        ),
    ] = "",
    set_: Set = None,
    text: Text = "text",
    category: Category = "foundation",
    lang: Lang = "und",
    workers: Workers = 0,
    json_: AsJson = False,
) -> None:
    """Score quality, set tiers and domains."""
    fixed: dict[str, Any] = {}
    if model:
        scorer = {"kind": _kind_of(model), "name": "model", "model": model}
        fixed["scorers"] = [{"kind": "heuristic"}, scorer]
    config = _section("openseek.config.quality:QualityConfig", set_, **fixed)
    function = "openseek.quality.step:score"
    _on_documents(function, config, input_, out, (text, category, lang), workers, json_)


def _kind_of(model: str) -> str:
    from openseek.errors import ConfigError

    if model.endswith((".bin", ".ftz")):
        return "fasttext"
    if not Path(model).is_dir() and (model.count("/") != 1 or model.startswith((".", "/", "~"))):
        raise ConfigError(
            "no such folder, and no hub id", where=f"--model {model}",
            mend="Name a folder that is there, or a hub id such as owner/name.",
        )  # fmt: skip
    return "linear" if (Path(model) / "classifier.json").is_file() else "transformer"


def label(
    input_: In,
    out: Out,
    base_url: Annotated[
        str, typer.Option(help="OpenAI-compatible endpoint; empty: text statistics, offline.")
    ] = "",
    model: Annotated[str, typer.Option(help="Model name at the endpoint.")] = "",
    set_: Set = None,
    text: Text = "text",
    category: Category = "foundation",
    lang: Lang = "und",
    workers: Workers = 0,
    json_: AsJson = False,
) -> None:
    """Have a teacher grade a sample of documents from 0 to 5, or name their domains."""
    fixed: dict[str, Any] = {}
    if teacher := _endpoint(base_url, model):
        fixed["teacher"] = teacher
    section = _section("openseek.config.labelling:LabellingConfig", set_, **fixed)
    function = "openseek.synthesis.labelling:label"
    _on_documents(function, section, input_, out, (text, category, lang), workers, json_)


def train_classifier(
    input_: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Folder that `openseek data label` wrote.")
    ],
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
        Path,
        typer.Argument(
            metavar="LABELS", help="Folder with labelled rows: parquet or JSONL (.gz, .zst)."
        ),
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
    text: Text = "text",
    category: Category = "foundation",
    lang: Lang = "und",
    workers: Workers = 0,
    json_: AsJson = False,
) -> None:
    """Drop documents that overlap with evaluation sets."""
    from openseek.cli.folders import require_folder
    from openseek.errors import DataError

    require_folder(against)
    if not any(path.is_file() for path in against.rglob("*")):
        raise DataError(
            "no evaluation items: the folder is empty", where=str(against),
            mend="Put .parquet, .jsonl (.gz, .zst) or .json files there.",
        )  # fmt: skip
    section = _section("openseek.config.quality:DecontaminationConfig", set_)
    function = "openseek.quality.step:decontaminate"
    labels = (text, category, lang)
    _on_documents(function, section, input_, out, labels, workers, json_, benchmarks=against)
