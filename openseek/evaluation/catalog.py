"""All benchmarks by name; each is described in a file of its own under `tasks/`.

A benchmark's row, in the columns of the hub's set, becomes an `Item` (question and options, or
the answers that count, as plain text). `Benchmark.prompt` turns an item into what the model sees.
Formats and metrics are those of OpenSeek's evaluation (docs/reference/evaluation-tasks.md).
"""

from __future__ import annotations

from openseek.evaluation.tasks.arc import ARC_CHALLENGE, ARC_EASY
from openseek.evaluation.tasks.benchmark import Benchmark, Item, Prompt, Row, check_item, to_item
from openseek.evaluation.tasks.boolq import BOOLQ
from openseek.evaluation.tasks.chinese import CEVAL, CMMLU
from openseek.evaluation.tasks.commonsenseqa import COMMONSENSEQA
from openseek.evaluation.tasks.gsm8k import GSM8K
from openseek.evaluation.tasks.hellaswag import HELLASWAG
from openseek.evaluation.tasks.mathematics import (
    AIME24,
    AMC23,
    MATH500,
    MINERVA_MATH,
    OLYMPIADBENCH,
)
from openseek.evaluation.tasks.mmlu import MMLU, MMLU_MC
from openseek.evaluation.tasks.mmlu_pro import MMLU_PRO, MMLU_PRO_MC
from openseek.evaluation.tasks.openbookqa import OPENBOOKQA
from openseek.evaluation.tasks.piqa import PIQA
from openseek.evaluation.tasks.siqa import SIQA
from openseek.evaluation.tasks.triviaqa import TRIVIAQA
from openseek.evaluation.tasks.winogrande import WINOGRANDE

_ALL = (
    HELLASWAG, PIQA, ARC_EASY, ARC_CHALLENGE, WINOGRANDE, BOOLQ, OPENBOOKQA, COMMONSENSEQA, SIQA,
    MMLU, CEVAL, CMMLU, MMLU_MC, MMLU_PRO, MMLU_PRO_MC, TRIVIAQA, GSM8K,
    MATH500, MINERVA_MATH, AMC23, AIME24, OLYMPIADBENCH,
)  # fmt: skip

BENCHMARKS: dict[str, Benchmark] = {b.name: b for b in _ALL}
"""All benchmarks by name, in the order in which they are scored."""

__all__ = ["BENCHMARKS", "Benchmark", "Item", "Prompt", "Row", "check_item", "to_item"]
