from __future__ import annotations

import ast
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthesis_small import CHINESE, CODE, ENGLISH, source

from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.synthesis import generate, render
from openseek.synthesis.extractive import key_terms
from openseek.synthesis.extractive_rules import code_pairs, sentence_pairs
from openseek.synthesis.recipes.long_cot_backward import Marker, resolve

QA = RecipeConfig(name="simple_qa", chars_per_item=50, max_items=20)
CHAIN = RecipeConfig(name="long_cot_backward", max_items=5)
CONFIG = SynthesisConfig()


class TestPatterns:
    @pytest.mark.parametrize(
        ("sentence", "question"),
        [
            ("The Baltic Sea is an inland sea of the Atlantic.", "What is the Baltic Sea?"),
            ("The commission was founded by the coastal states in 1974.",
             "By whom or by what was the commission founded?"),
            ("If the inflow of salt water stops, the basins lose oxygen.",
             "What happens if the inflow of salt water stops?"),
            ("To measure the inflow of salt, stations record the currents.",
             "How do you measure the inflow of salt?"),
            ("The salinity is low, because many rivers carry fresh water.",
             "Why is it that the salinity is low?"),
            ("The index contains the offset of every row group.", "What does the index contain?"),
        ],
    )  # fmt: skip
    def test_english(self, sentence: str, question: str) -> None:
        assert sentence_pairs(sentence, "en") == [(question, sentence)]

    @pytest.mark.parametrize(
        ("sentence", "question"),
        [
            ("光合作用是绿色植物把光能转化为化学能的过程。", "什么是光合作用？"),
            ("如果汛期降水过多，下游平原就会面临洪水。", "如果汛期降水过多，会怎么样？"),
            ("因为上游落差很大，所以水能资源十分丰富。", "为什么水能资源十分丰富？"),
            ("为了减轻洪水威胁，人们修建了堤坝和分洪区。", "怎样才能减轻洪水威胁？"),
            ("三峡水库由国家电力部门管理，每年汛前放水。", "三峡水库由谁管理？"),
        ],
    )
    def test_chinese(self, sentence: str, question: str) -> None:
        assert sentence_pairs(sentence, "zh") == [(question, sentence)]

    @pytest.mark.parametrize(
        "sentence",
        ["It is the largest of all the inland seas here.", "This is an example of the second kind.",
         "There are the usual reasons for it to be so."],
    )  # fmt: skip
    def test_sentences_without_a_subject_of_their_own_give_nothing(self, sentence: str) -> None:
        assert sentence_pairs(sentence, "en") == []

    def test_functions_become_code_answers(self) -> None:
        pairs = code_pairs(CODE)
        assert [q.split("`")[1] for q, _ in pairs] == [
            "clamp(value: float, low: float, high: float)", "mean(values)",
        ]  # fmt: skip
        for question, answer in pairs:
            ast.parse(answer)
            assert '"""' not in answer
            assert question.startswith("Write a Python function")
        assert "return min(value, high)" in pairs[0][1]
        assert "Return the arithmetic mean" in pairs[1][0]


class TestRecipes:
    def test_simple_qa_is_answered_from_the_text(self) -> None:
        [english, chinese, code] = generate(
            [source(ENGLISH), source(CHINESE, "zh"), source(CODE, code=True)], QA, CONFIG
        )
        for outcome, least in ((english, 5), (chinese, 4), (code, 2)):
            assert sum(not reason for _, reason in outcome.rows) >= least
        squeezed = "".join(ENGLISH.split())
        assert all("".join(row.answer.split()) in squeezed for row, _ in english.rows)
        assert render(chinese.rows[0][0], "zh").startswith("问题：")

    @pytest.mark.parametrize(("text", "lang"), [(ENGLISH, "en"), (CHINESE, "zh")])
    def test_a_chain_is_ordered_and_taken_from_the_text(self, text: str, lang: str) -> None:
        [outcome] = generate([source(text, lang)], CHAIN, CONFIG)
        [(row, reason)] = outcome.rows
        assert reason == ""
        squeezed = "".join(text.split())
        places = [squeezed.index("".join(step.split())) for step in row.steps]
        assert places == sorted(places)
        assert len(row.steps) >= 3
        assert row.answer in row.steps
        spans = row.extra["spans"]
        assert isinstance(spans, list)
        assert all(a < b for a, b in spans)
        assert all(p[1] <= q[0] for p, q in pairwise(spans))
        assert key_terms(f"{row.reasoning}\n{row.answer}", lang)[0] in row.query

    def test_the_count_follows_the_length(self) -> None:
        few = RecipeConfig(name="simple_qa", chars_per_item=400, max_items=8)
        [outcome] = generate([source(ENGLISH)], few, CONFIG)
        assert len(outcome.rows) == len(ENGLISH) // 400

    @pytest.mark.parametrize(
        ("text", "recipe", "failure"),
        [("", QA, "nothing_to_ask"), ("1 2 3", QA, "nothing_to_ask"),
         ("One. Two.", CHAIN, "too_few_sentences"), ("a b; " * 200, CHAIN, "too_few_sentences"),
         ("Numbers 1.\n\n" * 30, CHAIN, "thoughts")],
    )  # fmt: skip
    def test_what_cannot_be_used_fails_with_a_reason(
        self, text: str, recipe: RecipeConfig, failure: str
    ) -> None:
        [outcome] = generate([source(text)], recipe, CONFIG)
        assert (outcome.rows, outcome.failure) == ([], failure)

    @given(st.text(max_size=600), st.sampled_from(["en", "zh"]), st.booleans())
    @settings(max_examples=40)
    def test_any_text_ends_in_rows_or_a_reason(self, text: str, lang: str, code: bool) -> None:
        for recipe in (QA, CHAIN):
            [outcome] = generate([source(text, lang, code)], recipe, CONFIG)
            assert bool(outcome.rows) != bool(outcome.failure)


class TestMarkers:
    TEXT = "Alpha beta\n  gamma delta. Epsilon zeta eta.\n\nTheta iota kappa. Alpha beta again."

    def spans(self, *markers: tuple[str, str]) -> list[str]:
        found = resolve(self.TEXT, [Marker(start=a, end=b) for a, b in markers])
        return [self.TEXT[a:b] for a, b in found]

    def test_white_space_does_not_matter(self) -> None:
        assert self.spans(("Alpha beta gamma", "delta."), ("Theta", "iota  kappa.")) == [
            "Alpha beta\n  gamma delta.", "Theta iota kappa.",
        ]  # fmt: skip

    def test_later_markers_are_looked_for_after_earlier_spans(self) -> None:
        assert self.spans(("Epsilon", "eta."), ("Alpha beta", "again."))[1] == "Alpha beta again."

    def test_invented_markers_are_left_out(self) -> None:
        assert self.spans(("Omega", "psi"), (" ", "x"), ("Theta", "kappa.")) == [
            "Theta iota kappa."
        ]

    @given(st.text(alphabet="ab \n", max_size=60), st.data())
    def test_markers_copied_from_a_text_give_the_span_they_mark(
        self, text: str, data: st.DataObject
    ) -> None:
        solid = [i for i, c in enumerate(text) if not c.isspace()]
        if not solid:
            return
        a, b = sorted(data.draw(st.tuples(st.sampled_from(solid), st.sampled_from(solid))))
        [(start, end)] = resolve(text, [Marker(start=text[a : b + 1], end=text[a : b + 1])])
        assert "".join(text[start:end].split()) == "".join(text[a : b + 1].split())
