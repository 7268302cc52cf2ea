from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipes_small import Script, reason, run

from openseek.config.recipes import KnowledgeConfig, RecipeConfig
from openseek.errors import ConfigError, DataError
from openseek.synthesis.knowledge.annotating import (
    Annotation,
    fitting,
    read_annotations,
    write_annotations,
)
from openseek.synthesis.knowledge.merging import clean_name, dice, letter_pairs, merge_names
from openseek.synthesis.knowledge.sampling import sample
from openseek.synthesis.knowledge.seeds import Seed, load_seeds
from openseek.synthesis.knowledge.taxonomy import build_groups, read_groups, write_groups

OWN = load_seeds(KnowledgeConfig())
GROUPS = build_groups(OWN, KnowledgeConfig())
NAMES = st.dictionaries(
    st.text("abcde 数论", min_size=1, max_size=8), st.integers(1, 5), max_size=12
)


class TestSeeds:
    def test_the_set_that_ships_covers_all_fields_in_both_languages(self) -> None:
        found = {(s.field, s.lang) for s in OWN}
        assert found == {(f, n) for f in ("math", "code", "commonsense") for n in ("en", "zh")}
        assert all(s.topics and s.key_points and s.answer for s in OWN)
        assert {s.license for s in OWN} == {"Apache-2.0"}

    def test_seeds_of_ones_own(self, tmp_path: Path) -> None:
        path = tmp_path / "seeds.jsonl"
        row = {"id": "b", "field": "math", "lang": "en", "problem": "1+1?"}
        path.write_text("\n".join(json.dumps(r) for r in (row, row | {"id": "a"})) + "\n")
        config = KnowledgeConfig(seeds=str(path))
        assert [s.id for s in load_seeds(config)] == ["a", "b"]
        path.write_text(json.dumps(row) + "\n" + json.dumps(row))
        with pytest.raises(DataError, match="'b'"):
            load_seeds(config)
        path.write_text(json.dumps(row | {"field": "music"}))
        with pytest.raises(DataError, match="line 1"):
            load_seeds(config)
        with pytest.raises(ConfigError, match="seeds"):
            load_seeds(KnowledgeConfig(seeds=str(tmp_path / "none.jsonl")))

    def test_a_seed_is_tagged_by_the_teacher(self) -> None:
        tags = {"topics": ["rates", "rates", " ", "work"], "key_points": ["rates add up"]}
        teacher = Script({"knowledge_tags/tag": tags})
        (row,) = run("knowledge_tags", OWN[0].source(), teacher)
        assert row.kind == "tags"
        assert row.extra["topics"] == ["rates", "work"]
        assert OWN[0].problem in teacher.asked[0].messages[1]["content"]

    def test_blank_names_are_left_out_and_none_at_all_is_no_answer(self) -> None:
        tags = {"topics": ["", "rates"], "key_points": ["rates add up", " "]}
        (row,) = run("knowledge_tags", OWN[0].source(), Script({"knowledge_tags/tag": tags}))
        assert (row.extra["topics"], row.extra["key_points"]) == (["rates"], ["rates add up"])
        for left in ([], [""]):  # else they would take the place of the seed's own
            nothing = Script({"knowledge_tags/tag": tags | {"key_points": left}})
            assert reason("knowledge_tags", OWN[0].source(), nothing) == "schema"
            assert len(nothing.asked) == 2  # with a repair turn


class TestMerging:
    def test_names_that_differ_in_form_are_one(self) -> None:
        counts = {"linear equations": 3, "linear equation": 1, "geometry": 2, "一元一次方程": 1}
        merged = merge_names(counts, 0.7)
        assert merged["linear equation"] == "linear equations"
        assert merged["geometry"] == "geometry"
        assert clean_name("  Linear   Equations. ") == "linear equations"
        assert clean_name("ＤＦＳ on Trees") == "DFS on trees"

    @given(NAMES, st.floats(0.1, 1.0))
    @settings(max_examples=60, deadline=None)
    def test_order_does_not_matter_and_merging_again_changes_nothing(
        self, counts: dict[str, int], limit: float
    ) -> None:
        merged = merge_names(counts, limit)
        assert merge_names(dict(reversed(list(counts.items()))), limit) == merged
        assert set(merged) == set(counts)
        standing = {name: counts[name] for name in merged.values()}
        assert merge_names(standing, limit) == {name: name for name in standing}
        for name, other in merged.items():
            if name != other:
                assert dice(letter_pairs(name), letter_pairs(other)) >= limit

    def test_an_encoder_that_is_not_there_is_named(self) -> None:
        with pytest.raises(ConfigError, match="encoder"):
            merge_names({"a": 1, "b": 1}, 0.7, "/no/such/model")


class TestTaxonomy:
    def test_the_matrix_counts_seeds(self, tmp_path: Path) -> None:
        seeds = [
            Seed(id="1", field="math", lang="en", problem="p", topics=("Algebra", "algebra."),
                 key_points=("solve",)),
            Seed(id="2", field="math", lang="en", problem="q", topics=("algebra", "geometry"),
                 key_points=("draw", "solve")),
            Seed(id="3", field="math", lang="en", problem="r"),
        ]  # fmt: skip
        (group,) = build_groups(seeds, KnowledgeConfig())
        assert group.topics == ("algebra", "geometry")
        assert group.together == ((0, 0, 2), (0, 1, 1), (1, 1, 1))
        assert group.key_points == ("solve", "draw")
        assert group.links == ((0, 0, 2), (0, 1, 1), (1, 0, 1), (1, 1, 1))
        assert [s["id"] for s in group.seeds] == ["1", "2"]
        write_groups([group], tmp_path / "k.json")
        assert read_groups(tmp_path / "k.json") == [group]

    def test_seeds_in_another_order_give_the_same(self) -> None:
        assert build_groups(reversed(OWN), KnowledgeConfig()) == GROUPS
        assert len(GROUPS) == 6

    def test_another_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "k.json").write_text("[]")
        for path in (tmp_path / "k.json", tmp_path / "none.json"):
            with pytest.raises(DataError, match="knowledge_tags"):
                read_groups(path)


class TestSampling:
    @given(st.integers(0, 2**31), st.integers(0, 10**6), st.integers(1, 6))
    @settings(max_examples=60, deadline=None)
    def test_a_sample_depends_on_seed_and_index_alone(
        self, seed: int, index: int, most: int
    ) -> None:
        one = sample(GROUPS, seed, "key_points", index, most)
        assert sample(tuple(GROUPS), seed, "key_points", index, most) == one
        group = next(g for g in GROUPS if (g.field, g.lang) == (one.given["field"], one.lang))
        numbers = [group.topics.index(t) for t in one.given["topics"]]
        pairs = {(a, b) for a, b, _ in group.together}
        assert 1 <= len(numbers) <= 2
        assert (min(numbers), max(numbers)) in pairs
        assert len(set(one.given["key_points"])) == len(one.given["key_points"]) <= most
        linked = {group.key_points[p] for t, p, _ in group.links if t in numbers}
        assert linked.issuperset(one.given["key_points"])
        assert one.given["exemplars"]

    def test_indices_and_recipes_differ_and_all_groups_come(self) -> None:
        drawn = [sample(GROUPS, 1, "key_points", i, 3) for i in range(60)]
        assert {(d.given["field"], d.lang) for d in drawn} == {(g.field, g.lang) for g in GROUPS}
        assert len({json.dumps(d.given) for d in drawn}) > 30
        assert sample(GROUPS, 1, "rl_math", 0, 3).given != drawn[0].given

    def test_frequent_topics_come_more_often(self) -> None:
        group = build_groups(
            [Seed(id=str(i), field="math", lang="en", problem="p", topics=(t,), key_points=("k",))
             for i, t in enumerate(["common"] * 9 + ["rare"])],
            KnowledgeConfig(),
        )  # fmt: skip
        topics = [sample(group, 3, "key_points", i, 1).given["topics"][0] for i in range(300)]
        assert 240 < topics.count("common") < 299


class TestAnnotations:
    def test_documents_are_selected(self, tmp_path: Path) -> None:
        rows = [
            Annotation("a", "en", "math", ("algebra",), (), ("simple_qa", "long_cot")),
            Annotation("b", "en", "other", ("seas",), ("salt",), ("simple_qa",)),
            Annotation("c", "zh", "other", (), (), ()),
        ]
        write_annotations(rows, tmp_path / "a.jsonl")
        assert read_annotations(tmp_path / "a.jsonl") == rows

        def chosen(**options: object) -> set[str]:
            recipe = RecipeConfig(name="simple_qa", **options)  # type: ignore[arg-type]
            return set(fitting(rows, recipe))

        assert chosen(suits="simple_qa") == {"a", "b"}
        assert chosen(suits="long_cot", topics=("Algebra",)) == {"a"}
        assert chosen(suits="long_cot", topics=("seas",)) == set()
        (tmp_path / "a.jsonl").write_text('{"id": 1}\n')
        with pytest.raises(DataError, match="annotate"):
            read_annotations(tmp_path / "a.jsonl")
