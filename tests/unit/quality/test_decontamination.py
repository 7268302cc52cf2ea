from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality_small import CHINESE, PROSE, Serial, context, corpus, digests, document, write_shards

from openseek.artifacts.folder import FolderFiles
from openseek.config.quality import DecontaminationConfig
from openseek.errors import DataError
from openseek.quality import Decontaminator, Item, compose_item, index_documents, index_items
from openseek.quality.heuristic import pack
from openseek.quality.step import decontaminate

CONFIG = DecontaminationConfig()
QUESTION = (
    "A farmer sells twelve boxes of apples on Monday and half as many on Tuesday; how many boxes "
    "did she sell in all?"
)
QUESTION_ZH = "某农场星期一卖出十二箱苹果，星期二卖出的数量是星期一的一半，两天一共卖出多少箱？"
SHORT = "Which planet is closest to the sun? Mercury"  # eight words
VAGUE = "The answer is yes"


def judge(*texts: str, config: DecontaminationConfig = CONFIG) -> Decontaminator:
    items = [Item("quiz", str(i), text) for i, text in enumerate(texts)]
    return Decontaminator(config, index_items(items, config))


class TestItems:
    def test_an_item_is_found_inside_a_document_in_any_dress(self) -> None:
        dressed = QUESTION.upper().replace(" ", "\n  ").replace(";", " --")
        found = judge(SHORT, QUESTION).check([f"{PROSE} {dressed} {PROSE}"])[0]
        assert [(m.task, m.item, m.share) for m in found] == [("quiz", "1", 1.0)]
        assert found[0].text.lower().startswith("a\n  farmer")

    def test_a_chinese_item_is_found_by_characters(self) -> None:
        found = judge(QUESTION_ZH).check([CHINESE + QUESTION_ZH.replace("，", "、") + CHINESE])[0]
        assert found[0].share == 1.0

    def test_stretches_are_given_in_characters_of_the_document(self) -> None:
        text = f"前言🙂 {QUESTION} 中间的话。" + CHINESE + QUESTION_ZH + "结尾"
        found = judge(QUESTION, QUESTION_ZH).check(["clean", text])[1]
        quoted = {m.item: [text[a:b] for a, b in m.spans] for m in found}
        assert quoted == {"0": [QUESTION.rstrip("?")], "1": [QUESTION_ZH.rstrip("？")]}
        assert {m.item: m.text for m in found} == {k: v[0] for k, v in quoted.items()}

    def test_a_short_question_matches_without_its_answer(self) -> None:
        question = "Which planet of the solar system is closest to the sun?"
        items = [Item("quiz", "0", f"{question} Mercury", question)]
        decontaminator = Decontaminator(CONFIG, index_items(items, CONFIG))
        listed = f"{question}\nA. Venus\nB. Mercury"
        found = decontaminator.check([listed, f"{question} Mercury", "closest to the sun"])
        assert [len(m) for m in found] == [1, 1, 0]

    def test_part_of_an_item_has_its_share(self) -> None:
        half = " ".join(QUESTION.split()[:15])
        found = judge(QUESTION).check([half])[0]
        assert 0 < found[0].share < 0.5
        strict = CONFIG.model_copy(update={"min_item_share": 0.5})
        assert judge(QUESTION, config=strict).check([half])[0] == []

    def test_short_items_match_as_a_whole_only(self) -> None:
        matches = judge(SHORT).check(
            [f"Quiz: {SHORT}.", "Which planet is closest to the sun? Venus"]
        )
        assert [len(m) for m in matches] == [1, 0]

    def test_items_too_short_to_mean_anything_are_counted_and_never_match(self) -> None:
        decontaminator = judge(VAGUE, "是的，答案正确", QUESTION)
        assert decontaminator.items.too_short == 2
        assert decontaminator.check([f"{PROSE} {VAGUE}. 是的，答案正确。"])[0] == []

    def test_words_of_a_prompt_template_do_not_match(self) -> None:
        template = "The following are multiple choice questions with answers about the subject of "
        subjects = [f"subject{i} and its many fields of work" for i in range(30)]
        texts = [template + s for s in subjects]
        found = judge(*texts).check([template + "something else altogether here", texts[3]])
        assert found[0] == []
        assert found[1][0].item == "3"

    @given(
        st.lists(st.sampled_from("abcdefg 中文字符号"), min_size=0, max_size=60).map("".join),
        st.integers(0, 40),
    )
    @settings(max_examples=60)
    def test_hits_are_those_of_a_naive_search(self, text: str, at: int) -> None:
        config = DecontaminationConfig(word_ngram=3, char_ngram=5, min_words=3, min_chars=5)
        item = "ab cd ef g abc"
        document = text[:at] + " ab cd ef " + text[at:]
        found = judge(item, config=config).check([document])[0]
        tokens = naive_tokens(document)
        wanted = naive_tokens(item)
        grams = [wanted[i : i + 3] for i in range(len(wanted) - 2)]
        hit = [g for g in grams if any(tokens[i : i + 3] == g for i in range(len(tokens)))]
        assert bool(found) == bool(hit)
        if found:
            assert found[0].share == pytest.approx(len(hit) / len(grams), abs=1e-3)

    @given(
        st.lists(st.text("ab 中文", max_size=24), min_size=1, max_size=6),
        st.lists(st.text("ab 中文。\n", max_size=60), min_size=1, max_size=4),
    )
    @settings(max_examples=150)
    def test_shares_are_those_of_a_naive_search(self, items: list[str], texts: list[str]) -> None:
        config = DecontaminationConfig(
            word_ngram=4, char_ngram=6, min_words=3, min_chars=5, template_items=2
        )
        found = judge(*items, config=config).check(texts)
        assert [{int(m.item): m.share for m in matches} for matches in found] == [
            naive_shares(items, text, config) for text in texts
        ]

    @given(
        st.lists(st.text("ab 中é", max_size=20), min_size=1, max_size=4),
        st.lists(st.text("ab 中é。🙂א\n", max_size=70), min_size=1, max_size=3),
    )
    @settings(max_examples=150)
    def test_stretches_are_those_of_a_naive_search(
        self, items: list[str], texts: list[str]
    ) -> None:
        config = DecontaminationConfig(
            word_ngram=3, char_ngram=5, min_words=3, min_chars=5, template_items=9
        )
        found = judge(*items, config=config).check(texts)
        for text, matches in zip(texts, found, strict=True):
            wanted = {}
            for at, item in enumerate(items):
                spans = naive_stretches(naive_grams(item, config), text)
                if spans:
                    wanted[str(at)] = (spans, max((text[a:b] for a, b in spans), key=utf8_size))
            assert {m.item: (list(m.spans), m.text) for m in matches} == wanted

    @pytest.mark.parametrize(
        ("unit", "item"),
        [("a ", "a " * 20), ("哈", "哈" * 30), ("ab cd ef ", "ab cd ef " * 8), ("x", "x " * 20)],
    )
    def test_ten_megabytes_of_one_thing_are_one_stretch(self, unit: str, item: str) -> None:
        text = unit * (10_000_000 // len(unit.encode()))
        found = judge(*[item] * 3)
        (matches,) = found.check([text])
        if unit == "x":  # one word of ten million letters
            assert matches == []
            return
        hits = [len(rows) for _, rows in found.items.hits(*pack([text]))]
        assert hits == [len(set(unit.split()))]
        assert [m.spans for m in matches] == [((0, len(text.rstrip())),)] * 3
        assert all(3_990 <= len(m.text.encode()) <= 4_000 for m in matches)

    @pytest.mark.parametrize("text", ["", "a", "🙂", "\u200fשלום עולם", "x" * 10_000, "a " * 9_000])
    def test_odd_texts_are_clean(self, text: str) -> None:
        assert judge(QUESTION, QUESTION_ZH).check([text]) == [[]]


def utf8_size(text: str) -> int:
    return len(text.encode())


def naive_stretches(grams: set[tuple[str, ...]], text: str) -> list[tuple[int, int]]:
    """Where the n-grams lie, in characters; what overlaps or touches is one stretch."""
    tokens: list[tuple[str, int, int]] = []
    for at, char in enumerate(text):
        chinese = "\u4e00" <= char <= "\u9fff"
        joins = tokens and tokens[-1][2] == at and not "\u4e00" <= text[at - 1] <= "\u9fff"
        if char.isalpha() and not chinese and joins:
            tokens[-1] = (tokens[-1][0] + char, tokens[-1][1], at + 1)
        elif char.isalpha():
            tokens.append((char, at, at + 1))
    spans: list[tuple[int, int]] = []
    for i in range(len(tokens)):
        for gram in grams:
            end = i + len(gram)
            if tuple(t[0] for t in tokens[i:end]) == gram:
                spans.append((tokens[i][1], tokens[end - 1][2]))
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def naive_grams(text: str, config: DecontaminationConfig) -> set[tuple[str, ...]]:
    tokens = naive_tokens(text)
    chinese = 2 * sum(t >= "\u4e00" for t in tokens) > len(tokens)
    full, least = (
        (config.char_ngram, config.min_chars) if chinese else (config.word_ngram, config.min_words)
    )
    n = min(full, len(tokens))
    if len(tokens) < least:
        return set()
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def naive_shares(items: list[str], text: str, config: DecontaminationConfig) -> dict[int, float]:
    grams = [naive_grams(item, config) for item in items]
    tokens = naive_tokens(text)
    shares = {}
    for at, mine in enumerate(grams):
        rare = {g for g in mine if sum(g in other for other in grams) <= config.template_items}
        held = {
            g for g in rare if any(tuple(tokens[i : i + len(g)]) == g for i in range(len(tokens)))
        }
        if held:
            shares[at] = round(len(held) / len(rare), 4)
    return shares


def naive_tokens(text: str) -> list[str]:
    tokens, word = [], ""
    for char in text.lower() + " ":
        if char.isalnum() and not "\u4e00" <= char <= "\u9fff":
            word += char
            continue
        if word:
            tokens.append(word)
        word = ""
        if "\u4e00" <= char <= "\u9fff":
            tokens.append(char)
    return tokens


class TestHeldout:
    def judge(self, heldout: str) -> Decontaminator:
        return Decontaminator(
            CONFIG, index_items([], CONFIG), index_documents(["h"], [heldout], CONFIG)
        )

    def text(self, seed: int, words: int) -> str:
        import numpy as np

        return " ".join(f"w{n}" for n in np.random.default_rng(seed).integers(0, 5000, words))

    def test_a_near_duplicate_is_found(self) -> None:
        heldout = self.text(1, 200)
        edited = heldout.replace(" ", ", ", 30).replace("w1", "v1", 2)
        found = self.judge(heldout).check([edited])[0]
        assert found[0].task == "heldout"
        assert found[0].item == "h"
        assert found[0].share > 0.5

    def test_a_long_document_that_gives_it_away_is_found(self) -> None:
        heldout = self.text(1, 100)
        assert self.judge(heldout).check([self.text(2, 900) + " " + heldout])[0]

    def test_a_shared_header_is_not_a_duplicate(self) -> None:
        header = self.text(3, 80)
        heldout = f"{header} {self.text(4, 200)}"
        assert self.judge(heldout).check([f"{header} {self.text(5, 200)}", header]) == [[], []]


class TestComposition:
    @pytest.mark.parametrize(
        ("row", "text"),
        [
            ({"query": "q", "choices": ["a", "b"], "gold": 1}, "q b"),
            ({"query": "q", "choices": ["a", "b"], "gold": -1}, "q"),
            ({"query": "q", "choices": None, "gold": None}, "q"),
            ({"query": "", "text": "t"}, "t"),
            ({"task": "x", "id": "1", "question": "who", "answer": "me"}, "who me"),
        ],
    )
    def test_what_there_is_gets_used(self, row: dict[str, Any], text: str) -> None:
        assert compose_item(row) == text


def write_items(folder: Path, rows: list[dict[str, Any]]) -> FolderFiles:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "quiz.parquet")
    return FolderFiles(folder)


ITEMS = [
    {"task": "quiz", "id": "q1", "query": QUESTION, "choices": ["18", "12"], "gold": 0},
    {"task": "quiz", "id": "q2", "query": QUESTION_ZH, "choices": ["18箱"], "gold": 0},
    {"task": "quiz", "id": "q3", "query": VAGUE, "choices": [], "gold": -1},
]


class TestStep:
    def shards(self) -> dict[str, list[dict[str, Any]]]:
        shards = {f"train/{k}": v for k, v in corpus().items()}
        first = shards["train/books-00001.parquet"]
        first[5] = document(f"{PROSE}\n{QUESTION} 18\n{PROSE}", 9001)
        shards["train/xinhua-00000.parquet"][7] = document(
            CHINESE + QUESTION_ZH, 9002, source="xinhua", lang="zh-Hans"
        )
        return shards

    def inputs(self, tmp_path: Path) -> dict[str, FolderFiles]:
        for name, rows in self.shards().items():
            write_shards((tmp_path / "in" / name).parent, {Path(name).name: rows})
        secret = " ".join(f"secret{i}" for i in range(60))
        heldout = write_shards(tmp_path / "held", {"h-00000.parquet": [document(secret, 1)]})
        return {
            "documents": FolderFiles(tmp_path / "in"),
            "benchmarks": write_items(tmp_path / "bench", ITEMS),
            "heldout": heldout,
        }

    def test_contaminated_documents_are_dropped_and_listed(
        self, tmp_path: Path, serial: Serial
    ) -> None:
        metrics = decontaminate(context(CONFIG, tmp_path / "out", **self.inputs(tmp_path)))
        assert metrics["dropped"] == {"benchmark": 2}
        assert metrics["documents_in"] - metrics["documents_out"] == 2
        assert metrics["documents_by_task"] == {"quiz": 2}
        assert metrics["items"] == {"quiz": 3}
        assert metrics["items_too_short"] == 1
        lines = (tmp_path / "out/contamination.jsonl").read_text().splitlines()
        listed = [json.loads(line) for line in lines]
        assert [(row["item"], row["source"]) for row in listed] == [
            ("q1", "books"),
            ("q2", "xinhua"),
        ]
        assert listed[0]["text"].startswith("A farmer")
        (start, end), *_ = listed[0]["spans"]
        assert f"{PROSE}\n{QUESTION} 18\n{PROSE}"[start:end] == listed[0]["text"]
        names = sorted(p.name for p in (tmp_path / "out").glob("*.parquet"))
        assert names == sorted(Path(n).name for n in self.shards())

    @pytest.mark.parametrize("kill_after", [0, 1, 3])
    def test_a_killed_step_goes_on(self, tmp_path: Path, serial: Serial, kill_after: int) -> None:
        inputs = self.inputs(tmp_path)
        whole = decontaminate(context(CONFIG, tmp_path / "whole", **inputs))
        serial.ran.clear()
        serial.stop_after = kill_after
        with pytest.raises(KeyboardInterrupt):
            decontaminate(context(CONFIG, tmp_path / "killed", **inputs))
        serial.stop_after = None
        assert decontaminate(context(CONFIG, tmp_path / "killed", **inputs)) == whole
        assert len(serial.ran) == 4
        assert digests(tmp_path / "killed") == digests(tmp_path / "whole")

    def test_without_held_out_documents_or_items_nothing_is_dropped(
        self, tmp_path: Path, serial: Serial
    ) -> None:
        inputs = self.inputs(tmp_path)
        empty = FolderFiles(write_items(tmp_path / "none", ITEMS[2:]).root)
        given = {"documents": inputs["documents"], "benchmarks": empty}
        metrics = decontaminate(context(CONFIG, tmp_path / "out", **given))
        assert metrics["dropped"] == {}
        assert (tmp_path / "out/contamination.jsonl").read_text() == ""

    def test_items_without_text_are_a_clear_error(self, tmp_path: Path, serial: Serial) -> None:
        inputs = self.inputs(tmp_path)
        inputs["benchmarks"] = write_items(tmp_path / "bad", [{"task": "quiz", "id": "1", "n": 3}])
        with pytest.raises(DataError, match="`query`"):
            decontaminate(context(CONFIG, tmp_path / "out", **inputs))
