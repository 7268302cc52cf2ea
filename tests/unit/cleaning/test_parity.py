"""Decisions beside datatrove's own filters, on real texts: what is installed documents itself.

datatrove's filters ask for spaCy's tokens. They get ours here (`test_cleaning_stats` holds those
to spaCy's), so that what is compared is every rule built on them.
"""

from __future__ import annotations

import sysconfig
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.utils.text import TERMINAL_PUNCTUATION

from openseek.cleaning import Cleaner
from openseek.cleaning.looks import look_at
from openseek.cleaning.stats import scan
from openseek.config.cleaning import CleaningConfig

SETS = {
    "gopher_repetition": GopherRepetitionFilter,
    "gopher_quality": GopherQualityFilter,
    "c4": C4QualityFilter,
    "fineweb": FineWebQualityFilter,
}
OFF: dict[str, Any] = {
    "normalise": dict.fromkeys(("nfc", "control", "line_ends", "mojibake", "width"), False)
    | {"max_blank_lines": 10**9},
    "language": {"enabled": False},
    "simplify": {"enabled": False},
    "words": {"lists": []},
    "pii": {"enabled": False},
}


def words(text: str, *_: Any) -> list[str]:
    found, place = [], 0
    for width in scan(look_at([text.encode()]), han_words=False).token_chars:
        while text[place].isspace():
            place += 1
        found.append(text[place : place + width])
        place += width
    return found


def sentences(text: str, *_: Any) -> list[str]:
    """Count sentences as a sentencizer does: after an end, the next token that is no mark."""
    import unicodedata

    starts, ended = 1, False
    for token in words(text):
        if token in TERMINAL_PUNCTUATION:
            ended = True
        elif ended and not all(unicodedata.category(c)[0] == "P" for c in token):
            starts, ended = starts + 1, False
    return ["x"] * starts


@pytest.fixture(scope="module")
def texts() -> list[str]:
    root = Path(sysconfig.get_paths()["purelib"])
    files = [
        *sorted(root.glob("*.dist-info/METADATA"))[:150],
        *sorted(root.glob("*/*.py"))[::40][:100],
        *sorted(root.glob("*/*.md"))[:50],
    ]
    found = [f.read_bytes().decode("utf-8", "replace").replace("\r", "")[:8_000] for f in files]
    spoilt = [t.replace(". ", ".\n") for t in found[:80]]
    spoilt += [t[:400] * 3 for t in found[80:140]]
    return [t for t in [*found, *spoilt] if t.strip()]


@pytest.mark.parametrize("name", SETS)
def test_decisions_are_datatroves(name: str, texts: list[str], monkeypatch: Any) -> None:
    for module in (gopher_repetition_filter, gopher_quality_filter, fineweb_quality_filter):
        monkeypatch.setattr(module, "split_into_words", words)
    monkeypatch.setattr(c4_filters, "split_into_sentences", sentences)
    blocks = {other: {"enabled": other == name, "before_lines": name != "c4"} for other in SETS}
    lines = {} if name == "c4" else {"categories": ()}
    config = CleaningConfig(preset="datatrove", blocks=blocks, lines=lines, **OFF)
    n = len(texts)
    ours = Cleaner(config).clean(texts, ["en"] * n, ["foundation"] * n)
    peer = SETS[name]()
    differ: Counter[tuple[str, str]] = Counter()
    for text, result in zip(texts, ours, strict=True):
        document = Document(text=text, id="")
        verdict = peer.filter(document)
        theirs = "" if verdict is True else str(verdict[1])
        differ[theirs, result.reason] += bool(theirs) != bool(result.reason)
        if name == "c4" and not theirs and not result.reason:
            assert result.text == document.text
    assert n > 150
    assert sum(differ.values()) <= 0.005 * n, +differ


def test_fineweb_has_c4s_lines_without_its_rule_on_punctuation(
    texts: list[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(c4_filters, "split_into_sentences", sentences)
    blocks = {
        name: {"enabled": name == "c4"}
        for name in ("length", "gopher_quality", "gopher_repetition", "fineweb", "chinese")
    }
    config = CleaningConfig(preset="fineweb", blocks=blocks, han_words=False, **OFF)
    n = len(texts)
    ours = Cleaner(config).clean(texts, ["en"] * n, ["foundation"] * n)
    peer = C4QualityFilter(filter_no_terminal_punct=False)
    decisions = same = 0
    for text, result in zip(texts, ours, strict=True):
        document = Document(text=text, id="")
        kept = peer.filter(document) is True
        decisions += kept == (not result.reason)
        same += not kept or result.text == document.text
    assert decisions >= 0.995 * n
    # datatrove takes marks such as `[]` out of a line after it has counted and stripped it.
    assert same >= 0.97 * n
