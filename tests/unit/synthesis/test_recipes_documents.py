from __future__ import annotations

import pytest
from recipes_small import Script, reason, run
from synthesis_small import CHINESE, CODE, ENGLISH, source

from openseek.config.recipes import RephraseKind
from openseek.synthesis import RowFailure, render
from openseek.synthesis.recipes.rephrase import read_pairs
from openseek.synthesis.recipes.wording import normal, plain, short, split_answer, steps_of

KINDS: tuple[RephraseKind, ...] = (
    "diverse_qa", "distill", "extract_knowledge", "knowledge_list", "wiki",
)  # fmt: skip
LONG = {
    "en": "The Baltic Sea is an inland sea whose deep basins lack oxygen because inflows are rare.",
    "zh": "长江流域的湖泊在汛期吸收洪水，围湖造田使湖泊面积缩小，"
    "退田还湖以后，调节能力得到了明显的改善。",
}
PAIRS = {
    "en": "Here are the questions:\n\n1. **Question:** Is the Baltic Sea salty?\n   **Answer:** A "
    "little.\n\nQ2: Why?\nA2: Rivers.\nThey are many.\n\nQuestion: Is the Baltic Sea salty?\n"
    "Answer: A little.\n\nQuestion: And now",
    "zh": "以下是问答：\n问题：长江有多长？\n答案：亚洲第一长河。\n\n"
    "问题2：湖泊有什么作用？\n回答：调节洪水。",
}


class TestRephrase:
    @pytest.mark.parametrize("lang", ["en", "zh"])
    def test_each_form_is_a_row_of_text(self, lang: str) -> None:
        text = ENGLISH if lang == "en" else CHINESE * 5
        said = {f"rephrase/{kind}": LONG[lang] for kind in KINDS} | {
            "rephrase/diverse_qa": PAIRS[lang]
        }
        teacher = Script(said)
        rows = run("rephrase", source(text, lang), teacher, chars_per_item=300)
        assert [row.extra["form"] for row in rows] == list(KINDS)
        assert {row.kind for row in rows} == {"text"}
        assert render(rows[1], lang) == rows[1].text == LONG[lang]
        assert ("Question: " if lang == "en" else "问题：") in rows[0].text
        assert all(p.version >= 1 and p.lang == lang for p in teacher.asked)
        assert all(text in p.messages[1]["content"] for p in teacher.asked)

    def test_a_form_that_fails_leaves_the_others(self) -> None:
        said = {f"rephrase/{kind}": LONG["en"] for kind in KINDS}
        said |= {"rephrase/diverse_qa": "I have no questions.", "rephrase/wiki": "None."}
        rows = run("rephrase", source(ENGLISH), Script(said))
        assert [row.extra["form"] for row in rows] == list(KINDS[1:4])
        failed = {"diverse_qa": "no_pairs", "wiki": "too_short"}
        assert rows[0].extra["forms_failed"] == failed

    def test_without_any_form_the_document_fails(self) -> None:
        teacher = Script({"rephrase/wiki": RowFailure("refused")})
        assert reason("rephrase", source(ENGLISH), teacher, kinds=("wiki",)) == "refused"

    def test_pairs_are_counted_by_length_and_may_follow_the_document(self) -> None:
        teacher = Script({"rephrase/diverse_qa": PAIRS["en"]})
        options = {"kinds": ("diverse_qa",), "chars_per_item": 50, "max_items": 2}
        (row,) = run("rephrase", source(ENGLISH), teacher, with_document=True, **options)
        assert row.text.startswith(ENGLISH)
        assert row.extra["pairs"] == 2
        (one,) = run("rephrase", source(ENGLISH), teacher, kinds=("diverse_qa",))
        assert one.extra["pairs"] == 1

    def test_pairs_are_read_with_the_labels_that_models_write(self) -> None:
        assert read_pairs(plain(PAIRS["en"])) == [
            ("Is the Baltic Sea salty?", "A little."), ("Why?", "Rivers.\nThey are many."),
        ]  # fmt: skip
        assert [a for _, a in read_pairs(plain(PAIRS["zh"]))] == ["亚洲第一长河。", "调节洪水。"]
        assert read_pairs("No questions here.") == []


class TestAnnotate:
    @pytest.mark.parametrize(("lang", "text"), [("en", ENGLISH), ("zh", CHINESE)])
    def test_a_row_of_tags(self, lang: str, text: str) -> None:
        said = {
            "field": " Math ", "topics": ["seas", "seas", " "], "key_points": ["salt sinks"],
            "simple_qa": True, "long_cot": True,
        }  # fmt: skip
        (row,) = run("annotate", source(text, lang), Script({"annotate/sort": said}))
        assert row.kind == "tags"
        assert row.extra == {
            "field": "math", "topics": ["seas"], "key_points": ["salt sinks"],
            "suits": ["simple_qa", "long_cot"],
        }  # fmt: skip

    def test_what_is_malformed_gets_one_repair(self) -> None:
        good = {"field": "nonsense", "simple_qa": False, "long_cot": False}
        teacher = Script({"annotate/sort": ["Well...", good]})
        (row,) = run("annotate", source(CODE), teacher)
        assert row.extra["field"] == "other"
        assert row.extra["suits"] == []
        assert len(teacher.asked) == 2
        assert reason("annotate", source(CODE), Script({"annotate/sort": "[]"})) == "schema"


class TestWriting:
    def test_a_task_with_criteria_and_a_text(self) -> None:
        task = {
            "task": "Write a letter of 200 words to a mayor.",
            "criteria": ["Polite.", "Polite."],
        }
        said = {"rl_writing/set": task, "rl_writing/write": "Dear mayor, the sea needs you."}
        (row,) = run("rl_writing", source(ENGLISH), Script(said))
        assert (row.kind, row.query) == ("rl", task["task"])
        assert row.extra == {"criteria": ["Polite."]}
        said["rl_writing/write"] = "  "
        assert reason("rl_writing", source(ENGLISH), Script(said)) == "no_text"


class TestTranslation:
    def test_both_ways(self) -> None:
        english = "The sea is calm in June and the fishing boats go out at night " * 3
        chinese = "六月的海面很平静，渔船在夜里出海捕鱼。" * 3
        for lang, text, other in (("en", english, chinese), ("zh", chinese, english)):
            said = {"rl_translation/translate": other, "rl_translation/back": text}
            (row,) = run("rl_translation", source(text, lang), Script(said))
            assert row.kind == "rl"
            assert row.answer == other.strip()
            assert text.strip() in row.query
            assert row.extra["kept"] == 1

    @pytest.mark.parametrize(
        ("there", "back", "found"),
        [
            (ENGLISH, ENGLISH, "wrong_script"), ("海", ENGLISH, "wrong_length"),
            ("波罗的海是大西洋的内海。" * 8, "A cat sat.", "lost_content"), (" ", "", "no_text"),
        ],
    )  # fmt: skip
    def test_what_is_no_translation(self, there: str, back: str, found: str) -> None:
        said = {"rl_translation/translate": there, "rl_translation/back": back}
        assert reason("rl_translation", source(ENGLISH), Script(said)) == found


class TestReading:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("1. a\nAnswer: 12", "12"), ("so\n**Final answer:** 3 km\n", "3 km"),
            ("步骤\n答案是：三", "三"), ("so it is \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
            ("Answer: first\nmore\nAnswer: second", "second"), ("nothing marked", ""),
            ("Answer:\n\n42", "42"),
        ],
    )  # fmt: skip
    def test_answers(self, text: str, answer: str) -> None:
        assert split_answer(text)[1] == answer

    def test_steps_are_items_or_lines(self) -> None:
        assert steps_of("Intro\n1. a\nmore\n2) b\n- c") == ("Intro", "a more", "b", "c")
        assert steps_of("one\n\ntwo") == ("one", "two")
        assert steps_of(" \n") == ()

    def test_short_and_normal(self) -> None:
        assert short("**12 hours**.\nBecause") == "12 hours"
        assert normal("1,000.50") == "1000.5"
        assert normal("$ 7/15 $") == "7/15"
        assert normal("The Cat.") == normal("the cat")

    def test_plain_text_loses_what_stands_around_it(self) -> None:
        assert plain("<think>hm</think>Sure!\n\nText.") == "Text."
        assert plain("Here is the summary:\n```text\nText.\n```") == "Text."
        assert plain("当然，以下是改写：\n正文。") == "正文。"
        assert plain("Here is a lake. It is deep.") == "Here is a lake. It is deep."
