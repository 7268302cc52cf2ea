from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from openseek.cleaning import Cleaner, clean_text, identify, load_words, simplify
from openseek.config.cleaning import CleaningConfig, preset_blocks
from openseek.errors import ConfigError

ENGLISH = (
    "The river has been a road for as long as people have lived beside it. Boats carry grain and "
    "timber down to the sea, and they bring salt and cloth back to the towns of the valley. "
)
CHINESE = (
    "鐵路在這個國家的發展中有很重要的作用。從前的人們坐船往來，後來有了火車，運輸的時間大大縮短了。"
    "現在高速列車把各個城市連接在一起，人們在一天之內就可以到達很遠的地方，生活也因此改變了許多。"
    "工程師還在研究新的技術，希望將來的旅行更加安全，也更加舒適。"
)


def test_good_english_passes_unchanged() -> None:
    result = clean_text(ENGLISH, "und", "foundation")
    assert (result.text, result.lang, result.reason) == (ENGLISH, "en", "")


def test_traditional_becomes_simplified_by_phrase() -> None:
    result = clean_text(CHINESE, "zh-Hant", "foundation")
    assert result.lang == "zh-Hans"
    assert result.text.startswith("铁路在这个国家的发展中")
    assert result.changes["simplify"] == 1
    assert simplify("著名的皇后與後來的頭髮，乾隆吃餅乾") == "著名的皇后与后来的头发，乾隆吃饼干"


def test_code_is_not_judged_as_prose() -> None:
    code = "def f(x):\n    return {x: x}\n\n\n" * 20 + "# 鐵路\n"
    result = clean_text(code, "code", "code")
    assert (result.text, result.lang, result.reason) == (code, "code", "")


@pytest.mark.parametrize(
    ("text", "lang", "reason"),
    [
        ("", "und", "empty"),
        (" \n ", "und", "empty"),
        ("Too short.", "en", "length.chars"),
        ("Der Fluss war lange eine Straße für die Menschen am Ufer. " * 4, "de", "language"),
        ("Река была дорогой для людей, которые жили на её берегах. " * 4, "und", "language"),
        ((ENGLISH + "\n") * 12, "en", "gopher_repetition.dup_lines"),
        ("- the item of a list and so on, with\n" * 3 + ENGLISH.replace(" ", "... "), "en", None),
        ("a\n" * 400, "en", "lines.mean_line_chars"),
        ("好" * 300, "zh-Hans", "gopher_quality_zh.stop_words"),
        (
            ENGLISH + "An online casino bonus, no deposit bonus or free casino slots.",
            "en",
            "words.gambling",
        ),
        ("x" * 2_000_000, "en", "length.chars"),
    ],
)
def test_reasons(text: str, lang: str, reason: str | None) -> None:
    found = clean_text(text, lang, "foundation").reason
    assert found == reason if reason else found


def test_words_mask_and_flag_without_touching_longer_words(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("# ours\nmask\tAss\tinsult\nflag\t秘密\nmask\t坏词\t测试\n", encoding="utf-8")
    config = CleaningConfig(words={"lists": [str(path)], "mask": "#"})
    result = clean_text(ENGLISH + "An ass, a class, a bass. ASS! 秘密坏词。", "en", "cot", config)
    assert result.text.endswith("An #, a class, a bass. #! 秘密#。")
    assert result.flags == {"sensitive": 1}
    assert result.changes["words"] == 3


def test_the_content_of_a_word_list_is_identity_not_its_path(tmp_path: Path) -> None:
    for name, text in (("a", "flag\tx\n"), ("b", "flag\tx\n"), ("c", "flag\ty\n")):
        (tmp_path / name).write_text(text)
    a, b, c = (
        CleaningConfig(words={"lists": [str(tmp_path / n)]}).identity() for n in ("a", "b", "c")
    )
    assert a == b != c
    with pytest.raises(ValidationError, match="restore the file"):
        CleaningConfig(words={"lists": [{"path": str(tmp_path / "a"), "sha256": "0" * 64}]})


def test_a_bad_word_list_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("drop\tok\nforbid\tx\n")
    with pytest.raises(ConfigError, match=r"words\.txt:2.*Write drop, mask or flag"):
        load_words(CleaningConfig(words={"lists": [str(path)]}).words)


def test_boilerplate_lines_go_and_prose_about_them_stays() -> None:
    long = "A privacy policy is a text in which a company says what it does. " * 5
    result = clean_text(f"{ENGLISH}\nPlease enable JavaScript.\n{long}", "en", "foundation")
    assert "enable" not in result.text
    assert result.text.endswith(long)
    assert result.changes["lines"] == 1


@pytest.mark.parametrize("preset", ["standard", "fineweb", "cci4"])
def test_each_threshold_of_a_preset_names_its_source(preset: str) -> None:
    config = CleaningConfig(preset=preset)
    assert all(t.source for b in config.blocks.values() for t in b.thresholds.values())
    assert CleaningConfig.model_validate(config.model_dump()) == config


def test_blocks_are_changed_by_name() -> None:
    config = CleaningConfig(
        blocks={
            "length": {"thresholds": {"chars": {"min": 5}}},
            "sentences": {"enabled": False},
            "mine": {"sources": ["wiki"], "thresholds": {"digits": {"max": 0.5, "source": "me"}}},
        }
    )
    assert config.blocks["length"].thresholds["chars"].min == 5
    assert config.blocks["length"].thresholds["chars"].max == 1_000_000
    assert set(config.blocks) == set(preset_blocks("standard")) | {"mine"}
    cleaner = Cleaner(config)
    text = "12345 6789 the of"
    results = cleaner.clean([text] * 2, ["en"] * 2, ["math"] * 2, ["wiki", "other"])
    assert [r.failed for r in results] == [("length_reasoning.chars", "mine.digits"),
                                           ("length_reasoning.chars",)]  # fmt: skip


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({"x": {"thresholds": {"chrs": {"min": 1}}}}, "no statistic 'chrs'"),
        ({"x": {"thresholds": {"chars": {}}}}, "needs `min`, `max`"),
        ({"x": {"thresholds": {"chars": {"min": 2, "max": 1}}}}, "swap them"),
    ],
)
def test_impossible_blocks_are_refused(blocks: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CleaningConfig(blocks=blocks)


def test_language_by_script_and_by_model() -> None:
    assert identify("The cat sat on the mat and looked at the dog.")[0] == "en"
    assert clean_text(
        "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 5
    ).reason


@settings(max_examples=25)
@given(
    st.lists(st.text(st.characters(exclude_categories=[]), max_size=80), min_size=1, max_size=5),
    st.sampled_from(["foundation", "code", "math", "cot"]),
)
def test_any_batch_is_cleaned_as_its_texts_are(texts: list[str], category: str) -> None:
    cleaner = Cleaner(CleaningConfig())
    n = len(texts)
    batch = cleaner.clean(texts, ["und"] * n, [category] * n)
    assert batch == [cleaner.clean([t], ["und"], [category])[0] for t in texts]
    for result in batch:
        result.text.encode()
