"""Each layer on folders of its own: `openseek data clean IN OUT`, without a store or a server.

The same step functions and configuration sections as in a run; a command that was killed goes on
where it stopped when it is given the same output folder.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from openseek.cli.sources import sources

In = Annotated[
    Path,
    typer.Argument(help="Folder with JSONL (.gz, .zst), parquet or text files, or our shards."),
]
Out = Annotated[Path, typer.Argument(help="Folder to write; the same one again goes on.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Change a key of the section: min_chars=50.")
]
Workers = Annotated[int, typer.Option(help="Shards at the same time; 0: one per CPU.")]
Text = Annotated[str, typer.Option(help="Column with the text, where IN is not our own shards.")]
Category = Annotated[str, typer.Option(help="Category of such rows: foundation, code, math, cot.")]
Lang = Annotated[str, typer.Option(help="Their language: en, zh-Hans, zh-Hant, code, und.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object as stdout's last line.")]

# command -> (step function, section, input's name, help)
DATA = {
    "clean": (
        "openseek.cleaning.step:clean",
        "openseek.config.cleaning:CleaningConfig",
        "Normalise, filter and mask documents.",
    ),
    "minhash": (
        "openseek.dedup.step:dedup",
        "openseek.config.dedup:DedupConfig",
        "Drop exact and near duplicates.",
    ),
    "lines": (
        "openseek.dedup.lines:remove_lines",
        "openseek.config.lines:LinesConfig",
        "Remove lines or paragraphs that occur often.",
    ),
    "exact-substring": (
        "openseek.dedup.substring_step:exact_substring",
        "openseek.config.substring:SubstringConfig",
        "Cut passages that occur twice or more.",
    ),
    "score": (
        "openseek.quality.step:score",
        "openseek.config.quality:QualityConfig",
        "Score quality and set tiers.",
    ),
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from openseek.cli import quality  # it uses the helpers below

    data = typer.Typer(
        help="Data layers on folders of JSONL, parquet or text.", no_args_is_help=True
    )
    data.command("sources")(sources)
    data.command("ingest")(ingest)
    for name, (function, section, about) in DATA.items():
        data.command(name, help=about)(_documents_command(function, section))
    quality.register(data)
    app.add_typer(data, name="data")
    mix = typer.Typer(help="Mixtures of a curriculum.", no_args_is_help=True)
    mix.command("audit")(audit)
    app.add_typer(mix, name="mix")
    app.command("synth")(synth)
    app.command("eval")(evaluate)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _section(path: str, overrides: list[str] | None, **fixed: Any) -> Any:
    from pydantic import ValidationError

    from openseek.config.load import apply_overrides
    from openseek.errors import ConfigError

    section = _load(path)
    raw: dict[str, Any] = dict(fixed)
    apply_overrides(raw, overrides or [])
    try:
        return section.model_validate(raw)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        mend = f"Keys of this section: {', '.join(section.model_fields)}."
        raise ConfigError("; ".join(lines), where="--set", mend=mend) from None


def _run(
    function: str, config: Any, inputs: dict[str, Path], out: Path, workers: int, json_: bool
) -> None:
    from openseek.cli.folders import run_step

    metrics = run_step(_load(function), config, inputs, out, workers)
    if json_:
        print(json.dumps({"out": str(out), **metrics}, ensure_ascii=False))
    else:
        counts = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
        for name, value in counts.items():
            print(f"{name:<20} {value:,}")
        print(f"{'report':<20} {out / '_report.json'}")


def _documents_command(function: str, section: str) -> Callable[..., None]:
    def command(
        input_: In,
        out: Out,
        set_: Set = None,
        text: Text = "text",
        category: Category = "foundation",
        lang: Lang = "und",
        workers: Workers = 0,
        json_: AsJson = False,
    ) -> None:
        from openseek.cli.folders import as_documents

        config = _section(section, set_)
        documents = as_documents(
            input_, out, text=text, category=category, lang=lang, workers=workers
        )
        _run(function, config, {"documents": documents}, out, workers, json_)

    return command


def ingest(
    sources: Annotated[Path, typer.Argument(help="YAML list of sources.")],
    out: Out,
    workers: Workers = 0,
    json_: AsJson = False,
) -> None:
    """Read sources (JSONL, parquet, text, packages, hub) into document shards."""
    from openseek.config.load import read_sources
    from openseek.config.runtime import RuntimeConfig
    from openseek.config.sources import SourceList
    from openseek.corpus.snapshot import pin

    config = pin(SourceList(sources=read_sources(sources)), RuntimeConfig(workers=workers))
    _run("openseek.corpus.step:ingest", config, {}, out, workers, json_)


def synth(
    recipe: Annotated[str, typer.Argument(help="simple_qa or long_cot_backward.")],
    input_: In,
    out: Out,
    base_url: Annotated[str, typer.Option(help="OpenAI-compatible endpoint; empty: offline.")] = "",
    model: Annotated[str, typer.Option(help="Model name at the endpoint.")] = "",
    set_: Set = None,
    workers: Workers = 0,
    json_: AsJson = False,
) -> None:
    """Make synthetic documents from a folder of documents."""
    teacher: dict[str, Any] = {"kind": "extractive"}
    if base_url:
        teacher = {"kind": "openai", "base_url": base_url, "model": model}
    recipes = [{"name": recipe}]
    section = _section(
        "openseek.config.synthesis:SynthesisConfig", set_, teacher=teacher, recipes=recipes
    )
    inputs = {"documents": input_}
    _run("openseek.synthesis.step:synthesise", section, inputs, out, workers, json_)


def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a model, ours or Hugging Face's.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder of its tokenizer.")],
    data: Annotated[Path, typer.Option(help="Folder with evaluation items (parquet).")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    heldout: Annotated[Path | None, typer.Option(help="Folder of held-out documents.")] = None,
    set_: Set = None,
    json_: AsJson = False,
) -> None:
    """Score a model: lighteval tasks, and bits per byte when held-out documents are given."""
    section = _section("openseek.config.evaluation:EvaluationConfig", set_)
    inputs = {"model": model, "tokenizer": tokenizer, "benchmarks": data}
    if heldout is not None:
        inputs["heldout"] = heldout
    _run("openseek.evaluation.step:evaluate", section, inputs, out, 0, json_)


def audit(
    weights: Annotated[Path, typer.Argument(help="CSV of files and weights, or a run's YAML.")],
    json_: AsJson = False,
) -> None:
    """Say what a mixture amounts to, and warn of what is unusual in it."""
    from openseek.mixture.audit import audit as run_audit

    report = run_audit(weights)
    print(json.dumps(report.to_json(), ensure_ascii=False) if json_ else str(report))
