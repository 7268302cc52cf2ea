"""Lines that go, beside a plain reading of the same rules."""

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.cleaning import Cleaner
from openseek.config.cleaning import CleaningConfig

PIECES = [
    "the cat", "a", " ", "\n", ".", "...", "…", "?", '"', "privacy policy", "USE COOKIES", "中",
    "。", "上一页", "点击查看更多内容", "w" * 12, "😀", "ا", "\t", "{", "!", "lorem ipsum",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
LINES = st.fixed_dictionaries(
    {
        "terminal": st.sampled_from(["any", "sentence", "latin"]),
        "min_words": st.sampled_from([0, 2, 3]),
        "max_word_chars": st.sampled_from([0, 10]),
        "max_chars": st.sampled_from([15, 200]),
        "page_phrases": st.sampled_from([[], ["lorem ipsum"]]),
        "furniture": st.sampled_from([[], ["上一页", "点击查看"]]),
    }
)
OFF: dict[str, Any] = {
    "preset": "none",
    "normalise": dict.fromkeys(("nfc", "control", "line_ends", "mojibake"), False)
    | {"max_blank_lines": 1000},
    "language": {"enabled": False},
    "simplify": {"enabled": False},
    "words": {"lists": []},
    "pii": {"enabled": False},
    "math": {"enabled": False},
}


def naive(text: str, rules: dict[str, Any]) -> tuple[str, bool]:
    """Apply the rules line by line; returns the text and whether all of it is condemned."""
    chinese = 2 * len(re.findall("[\u4e00-\u9fff]", text)) > len(
        re.findall(r"[^\W\d_\u4e00-\u9fff]", text)
    )
    kept, removed, condemned = [], 0, False
    for line in text.split("\n"):
        runs = re.findall("[\u4e00-\u9fff]|[^\\s\u4e00-\u9fff]+" if chinese else r"\S+", line)
        end = line.strip()[-1:]
        bad = bool(rules["max_word_chars"]) and any(
            len(run) > rules["max_word_chars"] for run in runs
        )
        bad |= len(runs) < rules["min_words"]
        if rules["terminal"] != "any":
            marks = ".!?\"'" + ("。" if rules["terminal"] == "sentence" else "")
            bad |= end not in marks or not end or line.strip().endswith(("...", "…"))
        condemned |= not bad and any(p in line.lower() for p in rules["page_phrases"])
        if len(line) <= rules["max_chars"]:
            bad |= any(p in line.lower() for p in ("privacy policy", "use cookies"))
        bad |= bool(rules["furniture"]) and _is_furniture(line, rules["furniture"])
        removed += bad
        if not bad:
            kept.append(line)
    if rules["terminal"] != "any" or rules["min_words"]:
        kept = [line.strip() for line in kept]
    return ("\n".join(kept) if removed else text), condemned


def _is_furniture(line: str, phrases: list[str]) -> bool:
    longest = 12 if line.strip()[-1:] in tuple(".!?。") else 30
    found = False
    for match in re.finditer("|".join(phrases), line):
        begins = len(match.group()) >= 4 or not any(c.isalpha() for c in line[: match.start()])
        found |= begins and len(line) <= longest
    return found


@settings(max_examples=300)
@given(TEXT, LINES)
def test_lines_are_removed_as_a_plain_reading_removes_them(
    text: str, rules: dict[str, Any]
) -> None:
    config = CleaningConfig(lines={**rules, "bars": 0}, **OFF)
    result = Cleaner(config).clean([text, "x"], ["en"] * 2, ["foundation"] * 2)[0]
    expected, condemned = naive(text, rules)
    if condemned:
        assert result.reason == "lines.page_phrase"
    else:
        assert result.text == expected
        assert result.reason == ("" if expected.strip() else "empty")
