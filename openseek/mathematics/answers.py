"""Find the final answer in a worked solution, and tell whether two answers are equal.

Text is compared first: numbers and normalised LaTeX decide most cases in microseconds. What is
left goes to sympy, in a process of its own that is killed when it takes too long: `simplify` may
run for hours on an expression that a model made up, and no signal stops it inside of C code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from openseek.mathematics.equality import symbolically_equal

_SAID = (
    re.compile(r"(?i)(?:final answer|the answer|answer)\s*(?:is|:|=)\s*:?\s*\$?([^\n$]+)"),
    re.compile(r"#### ([^\n]+)"),
    re.compile(r"(?:答案|结果)\s*(?:是|为)?\s*[：:]?\s*\$?([^\n$。]+)"),
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?")
_NOISE = (
    "\\left", "\\right", "\\displaystyle", "\\!", "\\,", "\\;", "\\:", "\\ ", "\\quad", "$",
    "\\%", "%", "^{\\circ}", "^\\circ", "\\circ", "\\cdotp",
)  # fmt: skip
_RENAMED = (("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"), ("\\cdot", "*"), ("\\times", "*"),
            ("\\leq", "\\le"), ("\\geq", "\\ge"), ("\\lbrace", "\\{"), ("\\rbrace", "\\}"),
            ("−", "-"), ("，", ","))  # fmt: skip
_WORDS = re.compile(r"\\(?:text|mathrm|textbf|mbox|mathbf)\s*\{([^{}]*)\}")
_UNITS = re.compile(
    r"(?<=[\d}])(?:degrees?|dollars?|cents?|units?|meters?|cm|feet|inch(?:es)?|hours?|minutes?|"
    r"seconds?|miles?|years?|days?|points?|people|students?)(?:\^\{?[23]\}?)?$"
)


def boxed(text: str) -> str | None:
    r"""Return what the last `\boxed{...}` or `\fbox{...}` holds; None without one."""
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if start < 0:
        return None
    opening = text.find("{", start)
    if opening < 0:
        return text[start:].partition(" ")[2].split("$")[0].strip() or None
    depth = 0
    for i in range(opening, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[opening + 1 : i].strip()
    return None


def final_answer(text: str) -> str:
    r"""Return a solution's final answer: boxed, else as said, else its last number.

    Args:
        text: A solution; `The answer is ...`, `#### ...` and 答案是 count as said.

    Returns:
        The answer as it is written; empty if there is none.
    """
    if found := concluded(text):
        return found
    numbers = _NUMBER.findall(text)
    return str(numbers[-1]) if numbers else ""


def concluded(text: str) -> str:
    """Return the answer that a solution names as such: boxed, else as said; empty without one."""
    if (found := boxed(text)) is not None:
        return found
    for pattern in _SAID:
        if matches := pattern.findall(text):
            return str(matches[-1]).partition(". ")[0].strip().rstrip(".")
    return ""


def normal(answer: str) -> str:
    """Write an answer in one way of many: without spaces, sizes, units and outer dollars."""
    text = answer.strip().rstrip(".")
    for old, new in _RENAMED:
        text = text.replace(old, new)
    for noise in _NOISE:
        text = text.replace(noise, "")
    text = _WORDS.sub(r"\1", text)
    text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt\s*(\d)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", re.sub(r"\s+", "", text))
    text = re.sub(r"^[a-zA-Z](?:\([a-z]\))?(?:=|\\in)(?=.)", "", text)
    return _UNITS.sub("", text).rstrip(".")


def number(text: str) -> Fraction | None:
    r"""Read an integer, a decimal or a fraction (a/b or \frac{a}{b}); None if it is none."""
    plain = re.sub(r"^(-?)\\frac\{(-?\d+)\}\{(\d+)\}$", r"\1\2/\3", text)
    plain = plain[2:] if plain.startswith("--") else plain
    if not re.fullmatch(r"-?(?:\d+\.?\d*|\.\d+)(?:/\d+(?:\.\d+)?)?", plain) or len(plain) > 60:
        return None
    top, _, bottom = plain.partition("/")
    below = Fraction(bottom or 1)
    return Fraction(top) / below if below else None


def equal(given: str, wanted: str, algebra: Callable[[str, str], bool] | None = None) -> bool:
    """Tell whether two answers are the same mathematically.

    Args:
        given: The model's answer, as extracted.
        wanted: The right one.
        algebra: What compares expressions that neither text nor numbers decide; None: this
            process's own child (`symbolically_equal`).

    Returns:
        True if they agree as text, as numbers (1/2 and 0.5), member by member (tuples, sets,
        lists) or by algebra; False also if algebra does not come to an end.
    """
    left, right = normal(given), normal(wanted)
    if not left or not right:
        return False
    if left == right or left.lower() == right.lower():
        return True
    one, other = number(left), number(right)
    if one is not None and other is not None:
        return one == other
    parts, others = _members(left), _members(right)
    if len(parts) != len(others):
        return False
    if len(parts) > 1:
        outer = left[0] + left[-1], right[0] + right[-1]
        if any(o in {"()", "[)", "(]", "[]"} for o in outer) and outer[0] != outer[1]:
            return False
        if outer[1] in {"()", "[]", "[)", "(]"}:
            return all(equal(a, b, algebra) for a, b in zip(parts, others, strict=True))
        return all(any(equal(a, b, algebra) for b in others) for a in parts) and all(
            any(equal(a, b, algebra) for a in parts) for b in others
        )
    return (algebra or symbolically_equal)(left, right)


def _members(text: str) -> list[str]:
    """Split at the commas outside of brackets; the outermost brackets are taken off."""
    inner = text
    for opening, closing in (("\\{", "\\}"), ("(", ")"), ("[", "]"), ("(", "]"), ("[", ")")):
        if text.startswith(opening) and text.endswith(closing) and "," in text:
            inner = text[len(opening) : -len(closing)]
            break
    parts, depth = [""], 0
    for char in inner:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def same_answer(output: str, answers: Sequence[str]) -> dict[str, float]:
    """Score 1 if the final answer equals one of those that count."""
    given = final_answer(output)
    return {"qem": float(any(equal(given, wanted) for wanted in answers))}
