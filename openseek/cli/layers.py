"""Each layer on folders of its own: `openseek data clean IN OUT`, without a store or a server.

The same step functions and configuration sections as in a run; a command that was killed goes on
where it stopped when it is given the same output folder.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from openseek.cli.sources import sources

In = Annotated[
    Path,
    typer.Argument(
        metavar="IN", help="Folder with JSONL (.gz, .zst), parquet or text files, or our shards."
    ),
]
Out = Annotated[
    Path, typer.Argument(metavar="OUT", help="Folder to write; the same one again goes on.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Change a key of the section: min_chars=50.")
]
Workers = Annotated[int, typer.Option(min=0, help="Shards at the same time; 0: one per CPU.")]
Text = Annotated[str, typer.Option(help="Column with the text, where IN is not our own shards.")]
Category = Annotated[str, typer.Option(help="Category of such rows: foundation, code, math, cot.")]
Lang = Annotated[str, typer.Option(help="Their language: en, zh-Hans, zh-Hant, code, und.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object as stdout's last line.")]

_DRAWN_BY = ("categories", "tiers", "min_chars")

# command -> (step function, section, input's name, help)
DATA = {
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
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from openseek.cli import quality  # it uses the helpers below

    data = typer.Typer(
        help="Data layers on folders of JSONL, parquet or text.", no_args_is_help=True
    )
    data.command("sources")(sources)
    data.command("ingest")(ingest)
    data.command("clean")(clean)
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
    from openseek.config.load import apply_overrides, validate_section

    section = _load(path)
    raw: dict[str, Any] = dict(fixed)
    apply_overrides(raw, overrides or [])
    mend = f"Keys of this section: {', '.join(section.model_fields)}."
    return validate_section(section, raw, "--set", mend)


def _endpoint(base_url: str, model: str) -> dict[str, str] | None:
    """Return the teacher that two options describe; None: the offline one."""
    from openseek.errors import ConfigError

    if bool(base_url) != bool(model):
        given, other = ("--base-url", "--model") if base_url else ("--model", "--base-url")
        raise ConfigError(
            f"{given} without {other}", where=given, mend="Give both, or neither to work offline."
        )
    return {"kind": "openai", "base_url": base_url, "model": model} if base_url else None


def _run(
    function: str, config: Any, inputs: dict[str, Path], out: Path, workers: int, json_: bool
) -> dict[str, Any]:
    from openseek.cli.folders import run_step

    metrics = run_step(_load(function), config, inputs, out, workers)
    if json_:
        print(json.dumps({"out": str(out), **metrics}, ensure_ascii=False))
        return metrics
    for name, value in metrics.items():
        if isinstance(value, int | float):
            print(f"{name:<20} {value:,}")
    for name in ("dropped", "quarantined", "failed", "skipped"):  # reason -> documents
        found = metrics.get(name)
        reasons = found.items() if isinstance(found, dict) else ()
        told = ", ".join(f"{why} {n:,}" for why, n in reasons if isinstance(n, int))
        if told:
            print(f"{name:<20} {told}")
    print(f"{'report':<20} {out / '_report.json'}")
    return metrics


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
        config = _section(section, set_)
        _on_documents(function, config, input_, out, (text, category, lang), workers, json_)

    return command


def _on_documents(
    function: str, config: Any, input_: Path, out: Path, labels: tuple[str, str, str],
    workers: int, json_: bool, **others: Path,
) -> dict[str, Any]:  # fmt: skip
    """Run a step on documents: `input_`, read into shards first where it holds other files."""
    from openseek.cli.folders import as_documents

    text, category, lang = labels
    documents = as_documents(input_, out, text=text, category=category, lang=lang, workers=workers)
    return _run(function, config, {"documents": documents, **others}, out, workers, json_)


def clean(
    input_: In,
    out: Out,
    preset: Annotated[
        str, typer.Option(help="Rules: standard, fineweb, datatrove, cci4 or none.")
    ] = "",
    set_: Set = None,
    text: Text = "text",
    category: Category = "foundation",
    lang: Lang = "und",
    workers: Workers = 0,
    json_: AsJson = False,
) -> None:
    """Normalise, filter and mask documents."""
    fixed = {"preset": preset} if preset else {}
    config = _section("openseek.config.cleaning:CleaningConfig", set_, **fixed)
    function = "openseek.cleaning.step:clean"
    _on_documents(function, config, input_, out, (text, category, lang), workers, json_)


def ingest(
    sources: Annotated[Path, typer.Argument(help="YAML list of sources.")],
    out: Out,
    workers: Workers = 0,
    json_: AsJson = False,
) -> None:
    """Read sources (JSONL, parquet, text, packages, hub) into document shards."""
    from openseek.config.load import read_sources, validate_section
    from openseek.config.runtime import RuntimeConfig
    from openseek.config.sources import SourceList
    from openseek.corpus.snapshot import pin
    from openseek.errors import ConfigError

    listed = read_sources(sources)
    if not isinstance(listed, list):
        raise ConfigError(
            "no list of sources", where=str(sources),
            mend="Write `- preset: NAME` or `- {name: …, path: …}`, one item a source.",
        )  # fmt: skip
    config = pin(
        validate_section(SourceList, {"sources": listed}, str(sources)),
        RuntimeConfig(workers=workers),
    )
    _run("openseek.corpus.step:ingest", config, {}, out, workers, json_)


def synth(
    recipe: Annotated[str, typer.Argument(help="Recipe, or several with commas.")],
    input_: In,
    out: Out,
    base_url: Annotated[str, typer.Option(help="OpenAI-compatible endpoint; empty: offline.")] = "",
    model: Annotated[str, typer.Option(help="Model name at the endpoint.")] = "",
    set_: Set = None,
    text: Text = "text",
    category: Category = "foundation",
    lang: Lang = "und",
    workers: Workers = 0,
    json_: AsJson = False,
) -> None:
    r"""Make synthetic documents from a folder of documents.

    The first two recipes need no teacher. A recipe that goes on from another one's rows comes after
    it: long_cot_backward,long_cot_forward.

    \b
    simple_qa          questions that a document answers, as many as its length allows
    long_cot_backward  from a document back to the question that it is a long answer to
    long_cot_forward   backward's questions, reasoned and answered again
    long_cot_rag       the same with searches in the documents, after Search-o1
    rephrase           documents rewritten in up to five forms, as Nemotron-CC names them
    knowledge_tags     topics and key points of seed problems (knowledge.json)
    annotate           topics of documents, and what they suit (annotations.jsonl)
    key_points         new problems from topics and key points, with voted answers
    rl_math            problems whose answer a rule can compare
    rl_code            functions to write, with tests
    rl_commonsense     hard questions of everyday knowledge with four choices
    rl_writing         writing tasks with criteria
    rl_translation     passages with a reference translation, English and Chinese
    """
    teacher = _endpoint(base_url, model) or {"kind": "extractive"}
    recipes = [{"name": name.strip()} for name in recipe.split(",")]
    section = _section(
        "openseek.config.synthesis:SynthesisConfig", set_, teacher=teacher, recipes=recipes
    )
    from openseek.config.runtime import RuntimeConfig
    from openseek.synthesis.pinning import pin

    section = pin(section, RuntimeConfig())
    function = "openseek.synthesis.step:synthesise"
    labels = (text, category, lang)
    told = _on_documents(function, section, input_, out, labels, workers, json_)
    if not any(r.get("documents") for r in told.get("recipes", {}).values()):
        limits = ", ".join(f"{k}={getattr(section.recipes[0], k)}" for k in _DRAWN_BY)
        print(f"no document of {input_} fits the recipe: {limits}", file=sys.stderr)


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
    if section.suite != "none":
        from openseek.cli.boards import write_own

        write_own(out, model.resolve().name)


def audit(
    weights: Annotated[Path, typer.Argument(help="CSV of files and weights, or a run's YAML.")],
    json_: AsJson = False,
) -> None:
    """Say what a mixture amounts to, and warn of what is unusual in it."""
    from openseek.mixture.audit import audit as run_audit

    report = run_audit(weights)
    print(json.dumps(report.to_json(), ensure_ascii=False) if json_ else str(report))
