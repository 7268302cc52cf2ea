"""What runs after what: the one place that knows the DAG.

sources -> ingest -> clean -> dedup -> [ label -> classifier ], [ domains ] -> score -> split
        -> decontaminate -> synthesise -> tokenizer -> tokenise
        -> [ mix -> train -> evaluate ] per stage -> export -> report
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import Json
from openseek.config.base import Section
from openseek.config.pipeline import PipelineConfig
from openseek.config.runtime import RuntimeConfig
from openseek.config.sources import SourceList
from openseek.errors import ConfigError
from openseek.pipeline.checks import check_domains

StepFunction = Callable[[StepContext[Any]], Json]


@dataclass(frozen=True)
class Input:
    """An input of a node: which node makes it, and which of its files count."""

    node: str
    prefix: str = ""


@dataclass(frozen=True)
class Node:
    """One step of the DAG.

    Attributes:
        name: Unique name, `clean` or `train-foundation`.
        kind: Name of the step, `clean` or `train`.
        version: Raised when the output for the same params and inputs changes.
        function: `module:name` of the step function, imported when it runs.
        config: The step's section; its identity is part of the key.
        inputs: Logical name -> input.
        pin: `module:name` of a function (config, runtime) -> config that looks at what the step
            reads from outside of the store, and fixes its content in the config.
        snapshot: `module:name` of a function (config, runtime) -> JSON that identifies what the
            step reads from outside of the store; part of the key.
        about: One line for people.
    """

    name: str
    kind: str
    version: int
    function: str
    config: Section
    inputs: Mapping[str, Input] = field(default_factory=dict)
    pin: str = ""
    snapshot: str = ""
    about: str = ""

    def load(self) -> StepFunction:
        """Import the step's function."""
        return _import(self.function)

    def pinned(self, runtime: RuntimeConfig) -> Section:
        """Return the config with what lies outside of the store fixed in it; may fetch it."""
        return _import(self.pin)(self.config, runtime) if self.pin else self.config

    def outside(self, runtime: RuntimeConfig) -> Json:
        """Identify what the step reads from outside of the store; may fetch it."""
        return _import(self.snapshot)(self.config, runtime) if self.snapshot else {}


def _import(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def build(config: PipelineConfig) -> list[Node]:
    """List the nodes of a run in an order in which they can run.

    Raises:
        ConfigError: One section asks for what another does not give.
    """
    check_domains(config)
    nodes = [*_data_nodes(config)]
    previous: str | None = None
    for stage in config.stage_names():
        mix, train = f"mix-{stage}", f"train-{stage}"
        inputs = {"tokens": Input("tokenise"), "mixture": Input(mix)}
        if previous:
            inputs["previous"] = Input(previous)
        nodes += [
            Node(
                mix,
                "mix",
                3,
                "openseek.mixture.step:mix",
                config.mix_step(stage),
                {"tokens": Input("tokenise")},
                about=f"draw the {stage} stage's sequences and audit the mixture",
            ),
            Node(
                train,
                "train",
                2,
                "openseek.training.step:train",
                config.train_step(stage),
                inputs,
                snapshot="openseek.training.start:snapshot" if config.train.start else "",
                about=f"train the {stage} stage with DeepSpeed",
            ),
            Node(
                f"evaluate-{stage}",
                "evaluate",
                2,
                "openseek.evaluation.step:evaluate",
                config.evaluation,
                {
                    "model": Input(train),
                    "tokenizer": Input("tokenizer"),
                    "heldout": Input("split", "heldout/"),
                    "benchmarks": Input("benchmarks"),
                },
                about=f"bits per byte and lighteval after the {stage} stage",
            ),
        ]
        previous = train
    if previous is None:
        raise ConfigError("no stage is configured", where="stages")
    nodes.append(
        Node(
            "export",
            "export",
            1,
            "openseek.model.step:export",
            config.export,
            {"model": Input(previous), "tokenizer": Input("tokenizer")},
            about="write the Hugging Face folder and check its logits",
        )
    )
    nodes.append(_report_node(config, nodes))
    return nodes


def _data_nodes(config: PipelineConfig) -> Iterable[Node]:
    yield Node(
        "benchmarks",
        "benchmarks",
        2,
        "openseek.evaluation.benchmarks:fetch_benchmarks",
        config.benchmarks,
        snapshot="openseek.evaluation.benchmarks:snapshot",
        about="fetch the evaluation sets",
    )
    yield Node(
        "ingest",
        "ingest",
        3,
        "openseek.corpus.step:ingest",
        SourceList(sources=config.sources),
        pin="openseek.corpus.snapshot:pin",
        about="read the sources into documents",
    )
    chain: list[tuple[str, str, Section, str]] = [
        ("clean", "openseek.cleaning.step:clean", config.cleaning, "normalise, filter, mask"),
        ("dedup", "openseek.dedup.step:dedup", config.dedup, "drop exact and near duplicates"),
    ]
    if config.substring.enabled:
        function, about = "openseek.dedup.substring_step:exact_substring", "cut repeated passages"
        chain.insert(2, ("substring", function, config.substring, about))
    if config.lines.enabled:
        function, about = "openseek.dedup.lines:remove_lines", "remove lines that occur often"
        chain.insert(2, ("lines", function, config.lines, about))
    versions, pins = {"clean": 4, "dedup": 4}, {"dedup": "openseek.dedup.index:pin"}
    before = "ingest"
    for name, function, section, about in chain:
        inputs, version = {"documents": Input(before)}, versions.get(name, 1)
        yield Node(
            name, name, version, function, section, inputs, pin=pins.get(name, ""), about=about
        )
        before = name
    yield from _quality_nodes(config, before)
    yield Node(
        "split",
        "split",
        1,
        "openseek.corpus.split:split",
        config.heldout,
        {"documents": Input("score")},
        about="set held-out documents aside",
    )
    yield Node(
        "decontaminate",
        "decontaminate",
        3,
        "openseek.quality.step:decontaminate",
        config.decontamination,
        {
            "documents": Input("split", "train/"),
            "heldout": Input("split", "heldout/"),
            "benchmarks": Input("benchmarks"),
        },
        about="drop what overlaps with the evaluation sets",
    )
    documents = {"documents": Input("decontaminate")}
    yield Node(
        "synthesise",
        "synthesise",
        5,
        "openseek.synthesis.step:synthesise",
        config.synthesis_step(),
        {**documents, "benchmarks": Input("benchmarks")},
        pin="openseek.synthesis.pinning:pin",
        about="make question-answer pairs and chains of thought",
    )
    texts = {**documents, "synthetic": Input("synthesise")}
    yield Node(
        "tokenizer",
        "tokenizer",
        1,
        "openseek.tokens.step:train_tokenizer",
        config.tokenizer,
        texts,
        about="train the BPE tokenizer",
    )
    yield Node(
        "tokenise",
        "tokenise",
        3,
        "openseek.tokens.step:tokenise",
        config.tokens,
        {**texts, "tokenizer": Input("tokenizer")},
        about="turn documents into token shards",
    )


def _quality_nodes(config: PipelineConfig, before: str) -> Iterable[Node]:
    inputs = {"documents": Input(before)}
    if config.labelling is not None:
        yield Node(
            "label",
            "label",
            2,
            "openseek.synthesis.labelling:label",
            config.labelling,
            dict(inputs),
            about="have a teacher label a sample",
        )
    if config.labelling is not None and config.labelling.rubrics:
        yield Node(
            "classifier",
            "classifier",
            1,
            "openseek.quality.classifier_step:train_classifier",
            config.classifier,
            {"labels": Input("label")},
            about="learn the grades; report the agreement",
        )
        if any(s.kind == "linear" and not s.model for s in config.quality.scorers):
            inputs["classifier"] = Input("classifier")
    if config.domain_classifier is not None:
        learned = {"documents": Input(before)}
        if config.learns_from_teacher():
            learned = {"labels": Input("label")}
        yield Node(
            "domains",
            "domains",
            2,
            "openseek.quality.domains_step:train_domains",
            config.domain_classifier,
            {} if config.domain_classifier.labels else learned,
            snapshot="openseek.quality.domains_step:snapshot",
            about="learn domains from labelled rows; report the accuracy",
        )
        if config.quality.domains.enabled and not config.quality.domains.classifier:
            inputs["domains"] = Input("domains")
    yield Node(
        "score",
        "score",
        3,
        "openseek.quality.step:score",
        config.quality,
        inputs,
        snapshot="openseek.quality.scorers:snapshot",
        about="score quality, set tiers and domains",
    )


def _report_node(config: PipelineConfig, nodes: list[Node]) -> Node:
    from openseek.config.report import ReportConfig

    section = ReportConfig(
        name=config.name,
        config=config.identity(),
        dag={n.name: {k: i.node for k, i in n.inputs.items()} for n in nodes},
    )
    return Node(
        "report",
        "report",
        3,
        "openseek.report.step:report",
        section,
        {n.name: Input(n.name) for n in nodes},
        about="write the HTML report",
    )


def select(nodes: list[Node], targets: Iterable[str]) -> list[Node]:
    """Keep the targets and all that they need, in order.

    Args:
        nodes: The whole DAG.
        targets: Names of nodes; empty keeps everything.

    Raises:
        ConfigError: There is no such step.
    """
    by_name = {n.name: n for n in nodes}
    wanted: set[str] = set()
    queue = list(targets)
    if not queue:
        return nodes
    while queue:
        name = queue.pop()
        if name not in by_name:
            raise ConfigError(f"no step {name!r}", mend=f"Steps: {', '.join(by_name)}.")
        if name not in wanted:
            wanted.add(name)
            queue += [i.node for i in by_name[name].inputs.values()]
    return [n for n in nodes if n.name in wanted]
