from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

import pytest
from recipes_small import ANSWER, QUERY, STEPS, Script, after_backward, reason, run
from synthesis_small import CHINESE, ENGLISH

from openseek.artifacts.folder import FolderFiles
from openseek.config.recipes import RecipeConfig, RetrievalConfig
from openseek.corpus.shards import make_document, write_documents
from openseek.synthesis import RECIPES, Row
from openseek.synthesis.recipes.agreement import by_rule, overlap
from openseek.synthesis.recipes.long_cot_forward import without_draft
from openseek.synthesis.recipes.rag_prompts import BEGIN_RESULT, BEGIN_SEARCH, END_SEARCH
from openseek.synthesis.retrieval import write_index
from openseek.synthesis.teacher import Asker, Message, Prompt, Reply

THOUGHT = {
    "en": "1. Heavy salt water fills the basins.\n2. The notes say that inflows are rare.\n"
    "3. Rare inflows leave the deep water without fresh oxygen.\n4. So the oxygen is used up.",
    "zh": "1. 湖泊在汛期吸收洪水。\n2. 根据笔记，围湖造田缩小了湖泊。\n"
    "3. 湖泊小了，洪水无处可去。\n4. 所以洪水加重。",
}
MARK = {"en": "Answer: ", "zh": "答案："}


def solved(lang: str) -> str:
    return f"{THOUGHT[lang]}\n{MARK[lang]}{ANSWER[lang]}"


@pytest.fixture
def library(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "docs"
    folder.mkdir()
    rows = [
        make_document(
            text, source="lakes", category="foundation", lang=lang, license="x", origin=str(i)
        )
        for i, (text, lang) in enumerate([(ENGLISH, "en"), (CHINESE, "zh-Hans")])
    ]
    write_documents(folder / "a.parquet", rows)
    index, passages = tmp_path / "i.npz", tmp_path / "p.parquet"
    limits = RetrievalConfig(passage_chars=200)
    write_index(FolderFiles(folder), limits, 0, index, passages)
    return {"index": str(index), "passages_file": str(passages)}


class TestForward:
    @pytest.mark.parametrize("lang", ["en", "zh"])
    def test_the_row_is_the_new_reasoning_without_the_draft(self, lang: str) -> None:
        teacher = Script({"long_cot_forward/rewrite": solved(lang)})
        (row,) = run("long_cot_forward", after_backward(lang), teacher)
        assert (row.query, row.answer, row.kind) == (QUERY[lang], ANSWER[lang], "cot")
        assert len(row.steps) == 3
        assert not [s for s in row.steps if "notes" in s or "笔记" in s]
        asked = teacher.asked[0].messages[1]["content"]
        assert STEPS[lang][1] in asked
        assert teacher.kinds() == ["long_cot_forward/rewrite"]  # the words show the agreement

    @pytest.mark.parametrize(("agree", "found"), [(True, ""), (False, "disagrees")])
    def test_the_teacher_decides_where_words_do_not(self, agree: bool, found: str) -> None:
        other = f"{THOUGHT['en']}\nAnswer: Because nothing mixes the layers of the sea."
        said = {"long_cot_forward/rewrite": other, "long_cot_forward/agree": {"agree": agree}}
        teacher = Script(said)
        assert reason("long_cot_forward", after_backward(), teacher) == found
        assert teacher.kinds()[-1] == "long_cot_forward/agree"
        unasked = Script(said)
        options = {"ask_agreement": False}
        assert reason("long_cot_forward", after_backward(), unasked, **options) == "disagrees"
        assert len(unasked.asked) == 1

    @pytest.mark.parametrize(
        ("said", "found"),
        [
            ("I do not know.", "no_answer"), ("", "no_reasoning"),
            (f"Answer: {ANSWER['en']}", "no_reasoning"),
            (f"The draft says so.\nAnswer: {ANSWER['en']}", "no_reasoning"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_used_has_a_reason(self, said: str, found: str) -> None:
        teacher = Script({"long_cot_forward/rewrite": said, "long_cot_forward/close": ""})
        assert reason("long_cot_forward", after_backward(), teacher) == found

    def test_an_answer_that_is_not_marked_is_asked_for(self) -> None:
        said = {
            "long_cot_forward/rewrite": THOUGHT["en"], "long_cot_forward/close": ANSWER["en"]
        }  # fmt: skip
        teacher = Script(said)
        (row,) = run("long_cot_forward", after_backward(), teacher)
        assert row.answer == ANSWER["en"]
        assert len(row.steps) == 3
        assert teacher.kinds() == ["long_cot_forward/rewrite", "long_cot_forward/close"]

    def test_private_reasoning_counts_as_reasoning(self) -> None:
        text = f"<think>{THOUGHT['en']}</think>\n**Answer:** {ANSWER['en']}"
        (row,) = run(
            "long_cot_forward", after_backward(), Script({"long_cot_forward/rewrite": text})
        )
        assert row.answer == ANSWER["en"]
        assert len(row.steps) == 3

    def test_mentions_of_the_draft_are_taken_out_and_nothing_else(self) -> None:
        assert without_draft("Salt sinks. As noted in the draft, it rains.") == "Salt sinks."
        kept = "A note in music has a pitch. The chain of lakes is long."
        assert without_draft(kept) == kept


class TestBackward:
    SAID: ClassVar = {
        "long_cot_backward/segment": {"segments": [{"start": "no such", "end": "words"}]},
        "long_cot_backward/summarise": {"thought": "Salt sinks."},
        "long_cot_backward/chain": {"steps": list(STEPS["en"]), "conclusion": ANSWER["en"]},
        "long_cot_backward/query": {"query": QUERY["en"]},
    }

    def test_without_markers_a_document_may_be_cut_by_rule(self) -> None:
        document = after_backward(text=ENGLISH)
        assert reason("long_cot_backward", document, Script(self.SAID)) == "markers"
        teacher = Script(self.SAID)
        (row,) = run("long_cot_backward", document, teacher, cut_without_markers=True)
        assert row.extra["cut_by"] == "rule"
        spans = row.extra["spans"]
        assert isinstance(spans, list)
        assert "".join(ENGLISH[a:b] for a, b in spans) == ENGLISH
        assert teacher.kinds().count("long_cot_backward/summarise") == len(spans) == 3


class TestAgreement:
    def test_by_rule(self) -> None:
        assert by_rule("$12$", "12", 0.6)
        assert by_rule("It takes 12 hours", "12 hours", 0.6)
        assert by_rule("It takes 13 hours", "12 hours", 0.6) is False
        assert by_rule("Inflows of salt water are rare", "rare inflows of salt water", 0.6)
        assert (
            by_rule("Inflows of salt water came in 1951", "inflows of salt water, 1993", 0.6)
            is None
        )
        assert by_rule("Something else", ANSWER["en"], 0.6) is None

    def test_overlap_counts_chinese_by_character(self) -> None:
        assert overlap("湖泊面积缩小", "湖泊面积") == 1
        assert overlap("", "湖泊") == 0
        assert overlap("anything", "") == 0


def searching(query: str, lang: str = "en") -> str:
    return f"I need a fact about this.\n{BEGIN_SEARCH}{query}{END_SEARCH} made up {BEGIN_RESULT}"


class TestRetrieval:
    @pytest.mark.parametrize(
        ("lang", "wanted"), [("en", "salinity of rivers"), ("zh", "湖泊调节洪水")]
    )
    def test_searches_are_read_and_go_into_the_reasoning(
        self, library: dict[str, str], lang: str, wanted: str
    ) -> None:
        teacher = Script({
            "long_cot_rag/turn": [searching(wanted), solved(lang)],
            "long_cot_rag/read": f"Found: {ANSWER[lang]}",
        })  # fmt: skip
        (row,) = run("long_cot_rag", after_backward(lang), teacher, **library)
        assert row.answer == ANSWER[lang]
        assert row.steps[0] == "I need a fact about this."
        (search,) = row.extra["searches"]  # type: ignore[attr-defined]
        assert search["query"] == wanted
        assert search["passages"]
        assert wanted.split()[0] in teacher.asked[1].messages[1]["content"]
        assert f"Found: {ANSWER[lang]}" in teacher.asked[2].messages[1]["content"]
        assert "made up" not in teacher.asked[2].messages[1]["content"]
        assert END_SEARCH in teacher.asked[0].stop

    def test_chat_endpoints_ask_by_json(self, library: dict[str, str]) -> None:
        turns = [
            {"thought": "First the salt.", "search": "salinity"},
            {"thought": "Now it is clear.", "search": "more", "answer": ANSWER["en"]},
        ]
        teacher = Script(
            {"long_cot_rag/turn_json": turns, "long_cot_rag/read": "Rivers dilute it."}
        )
        (row,) = run("long_cot_rag", after_backward(), teacher, search_by="json", **library)
        assert row.steps == ("First the salt.", "Now it is clear.")
        assert row.answer == ANSWER["en"]

    def test_turns_are_bounded_and_repeats_are_not_searched(self, library: dict[str, str]) -> None:
        teacher = Script({
            "long_cot_rag/turn": searching("salt"), "long_cot_rag/read": "Salt is heavy.",
            "long_cot_rag/close": ANSWER["en"],
        })  # fmt: skip
        (row,) = run("long_cot_rag", after_backward(), teacher, turns=3, **library)
        assert teacher.kinds().count("long_cot_rag/turn") == 3
        assert teacher.kinds().count("long_cot_rag/read") == 1
        assert len(row.extra["searches"]) == 3  # type: ignore[arg-type]

    def test_a_search_that_finds_nothing_says_so(self, library: dict[str, str]) -> None:
        said = {"long_cot_rag/turn": [searching("zyzzyva"), solved("en")]}
        teacher = Script(said)
        (row,) = run("long_cot_rag", after_backward(), teacher, **library)
        assert row.extra["searches"][0]["passages"] == []  # type: ignore[index]
        assert "long_cot_rag/read" not in teacher.kinds()

    def test_an_answer_without_its_mark_is_asked_for_once_more(
        self, library: dict[str, str]
    ) -> None:
        said = {"long_cot_rag/turn": "It is the inflows.", "long_cot_rag/close": ANSWER["en"]}
        (row,) = run("long_cot_rag", after_backward(), Script(said), **library)
        assert row.answer == ANSWER["en"]
        said["long_cot_rag/close"] = " "
        assert reason("long_cot_rag", after_backward(), Script(said), **library) == "no_answer"


class Killed(Exception):
    pass


class Counting:
    """Remembers answers and stops the world after a number of new ones, as a kill would."""

    name = "counting"

    def __init__(self, known: dict[str, str], stop_after: int | None = None) -> None:
        self.known, self.stop_after, self.sent = known, stop_after, list[str]()

    async def complete(self, prompt: Prompt, messages: tuple[Message, ...]) -> Reply:
        key = str(messages)
        if key not in self.known:
            if self.stop_after is not None and len(self.sent) >= self.stop_after:
                raise Killed
            self.sent.append(prompt.kind)
            self.known[key] = self.say(prompt)
        await asyncio.sleep(0)
        return Reply(self.known[key])

    def say(self, prompt: Prompt) -> str:
        if prompt.kind != "long_cot_rag/turn":
            return "Salt water is heavy and stays below."
        reasoning, number = str(prompt.inputs["reasoning"]), int(str(prompt.inputs["query"])[-1])
        done = reasoning.count(BEGIN_SEARCH)
        return solved("en") if done == number else searching(f"salt {done}")

    async def close(self) -> None:
        return


def four_rows(teacher: Counting, library: dict[str, str]) -> list[list[Row]]:
    async def all_rows() -> list[list[Row]]:
        config = RecipeConfig(name="long_cot_rag", turns=5, **library)
        sources = []
        for i in range(4):
            row = Row(f"{QUERY['en']} {i}", ANSWER["en"], STEPS["en"])
            source = after_backward(id=str(i))
            sources.append(type(source)(**{**vars(source), "row": row}))
        found = (RECIPES["long_cot_rag"].run(s, Asker(teacher), config) for s in sources)
        return list(await asyncio.gather(*found))

    return asyncio.run(all_rows())


class TestRounds:
    def test_all_unfinished_rows_take_one_turn_a_round(self, library: dict[str, str]) -> None:
        teacher = Counting({})
        rows = four_rows(teacher, library)
        assert [len(r[0].extra["searches"]) for r in rows] == [0, 1, 2, 3]  # type: ignore[arg-type]
        turns = "".join("t" if k.endswith("turn") else "r" for k in teacher.sent)
        assert turns.replace("r", " ").split() == ["tttt", "ttt", "tt", "t"]

    @pytest.mark.parametrize("kill_after", [1, 4, 6, 9, 11])
    def test_a_killed_round_goes_on_from_the_answers(
        self, library: dict[str, str], kill_after: int
    ) -> None:
        whole = Counting({})
        expected = four_rows(whole, library)
        known: dict[str, str] = {}
        first = Counting(known, kill_after)
        with pytest.raises(Killed):
            four_rows(first, library)
        second = Counting(known)
        assert four_rows(second, library) == expected
        assert len(first.sent) + len(second.sent) == len(whole.sent)
