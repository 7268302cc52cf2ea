"""Texts that no corpus should have and every crawl does."""

from __future__ import annotations

import random
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.cleaning import Cleaner, identify
from openseek.cleaning.looks import look_at
from openseek.config.cleaning import CleaningConfig

TEN_MB = 10_000_000
HUGE = {
    "no space": "abcdefghij" * (TEN_MB // 10),
    "one character": "a" * TEN_MB,
    "one Chinese character": "好" * (TEN_MB // 3),
    "spaces": " " * TEN_MB,
    "line ends": "\n" * TEN_MB,
    "digits": "0123456789" * (TEN_MB // 10),
    "at signs": "@" * TEN_MB,
    "one line of words": "word " * (TEN_MB // 5),
}
SMALL = [
    "", "a", " ", "\n", "好", "😀", "👩‍👩‍👧‍👦" * 50, "\ud800", "\udfff\ud800 text " * 20,
    "\ud83d\ude00", "مرحبا بالعالم، هذه جملة. " * 20, "שלום עולם, זה משפט. " * 20,
    "\u202eabc\u202c" * 40, "\x00" * 200, "\ufeff", "e\u0301" * 300, "a\u0300" * 1000, "ﷺ" * 200,
    "\ufffd" * 200, "|" * 500, "｜" * 200,
]  # fmt: skip
PRESETS = ["standard", "fineweb", "datatrove", "cci4", "none"]


@pytest.fixture(scope="module")
def cleaners() -> dict[str, Cleaner]:
    return {preset: Cleaner(CleaningConfig(preset=preset)) for preset in PRESETS}


@pytest.mark.parametrize("preset", PRESETS)
def test_small_oddities_are_cleaned_or_dropped(preset: str, cleaners: dict[str, Cleaner]) -> None:
    for category in ("foundation", "code", "math", "cot"):
        n = len(SMALL)
        results = cleaners[preset].clean(SMALL, ["und"] * n, [category] * n)
        for text, result in zip(SMALL, results, strict=True):
            result.text.encode()  # no lone surrogate is left
            if any("\ud800" <= c <= "\udfff" for c in text):
                assert result.changes["normalise.surrogates"] == 1
            if not text.strip():
                assert result.reason == "empty"
        assert results[SMALL.index("\ud83d\ude00")].text in ("😀", "")


@pytest.mark.parametrize("name", HUGE)
def test_ten_megabytes_of_one_thing(name: str, cleaners: dict[str, Cleaner]) -> None:
    result = cleaners["standard"].clean([HUGE[name]], ["en"], ["foundation"])[0]
    assert result.reason
    assert len(result.text) <= len(HUGE[name])


@settings(max_examples=12)
@given(st.randoms(use_true_random=False), st.sampled_from(PRESETS))
def test_a_document_is_cleaned_the_same_in_any_company(chance: random.Random, preset: str) -> None:
    cleaner = Cleaner(CleaningConfig(preset=preset))
    prose = "It was the best of times, it was the worst of times, and that is what they had. "
    texts = [
        *SMALL, prose * 3, prose + "\nprivacy policy\n" + prose, r"\frac{a}{b} \sum_{i} x_{i} " * 9,
        "鐵路在這個國家有很重要的作用。" * 9, "上一页\n" + "铁路在这个国家有很重要的作用，" * 9,
    ]  # fmt: skip
    rows = [(t, chance.choice(["en", "zh", "und"]), chance.choice(["foundation", "code", "cot"]))
            for t in texts]  # fmt: skip
    alone = {row: cleaner.clean([row[0]], [row[1]], [row[2]])[0] for row in rows}
    chance.shuffle(rows)
    cut = chance.randrange(len(rows))
    for part in (rows[:cut], rows[cut:]):
        together = cleaner.clean([r[0] for r in part], [r[1] for r in part], [r[2] for r in part])
        assert together == [alone[row] for row in part]


OTHERS = {
    "de": "Die Bahn war in der Entwicklung des Landes sehr wichtig, und die Menschen reisten "
    "bald in einem Tag von der Stadt an das Meer, was die Familien freute. ",
    "fr": "Le fleuve est une route depuis que les hommes vivent sur ses rives, et les bateaux "
    "portent le grain et le bois vers la mer, puis le sel vers les villes. ",
    "nl": "De rivier is een weg zolang er mensen aan het water wonen, en de boten van de stad "
    "brengen het graan en het hout naar de zee, of het zout terug. ",
    "da": "Floden har altid været en vej for de mennesker, som bor ved den, og bådene bringer "
    "korn og tømmer til havet, når de kan have det med sig. ",
    "it": "Il fiume è una strada da quando gli uomini vivono sulle sue rive, e le barche portano "
    "il grano e il legno al mare, poi il sale alle città della valle. ",
    "es": "El río es un camino desde que los hombres viven en sus orillas, y los barcos llevan "
    "el grano y la madera al mar, y luego la sal a los pueblos del valle. ",
}
TITLES = "The Lord of the Rings, To Have and Have Not, The Best of That and With the Beatles. "


@pytest.mark.parametrize("lang", OTHERS)
def test_the_shortcut_for_english_is_not_taken_by_other_languages(lang: str) -> None:
    mixed = [OTHERS[lang] * n + TITLES for n in (5, 10)]
    texts = [OTHERS[lang], OTHERS[lang] * 4, *mixed]
    assert not look_at([text.encode() for text in texts]).english.any()
    result = Cleaner(CleaningConfig()).clean(texts, ["und"] * 4, ["foundation"] * 4)
    assert [r.lang for r in result] == [lang] * 4


def test_the_shortcut_for_english_is_what_the_model_says() -> None:
    root = Path(sysconfig.get_paths()["purelib"])
    files = [*sorted(root.glob("*.dist-info/METADATA"))[:200], *sorted(root.rglob("*.rst"))[:100]]
    read = [f.read_bytes().decode("utf-8", "replace")[:20_000] for f in files]
    texts = [text.partition("\n\n")[2] or text for text in read]  # without a package's fields
    english = [
        t
        for t, yes in zip(texts, look_at([text.encode() for text in texts]).english, strict=True)
        if yes
    ]
    agree = sum(identify(text)[0] == "en" for text in english)
    assert len(english) > 50
    assert agree >= 0.98 * len(english)
