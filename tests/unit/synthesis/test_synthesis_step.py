from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from synthesis_small import CHINESE, CODE, ENGLISH, Endpoint

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.quality import DecontaminationConfig
from openseek.config.runtime import RuntimeConfig
from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.corpus.document import DOCUMENT_SCHEMA, domain_of
from openseek.corpus.shards import make_document, write_documents
from openseek.errors import TransientError
from openseek.synthesis import step, writing
from openseek.synthesis.drawing import draw
from openseek.synthesis.step import synthesise

RECIPES = (
    RecipeConfig(name="simple_qa", chars_per_item=100),
    RecipeConfig(name="long_cot_backward", categories=("foundation",), max_items=5),
)
CONFIG = SynthesisConfig(recipes=RECIPES, shard_documents=4)


def documents(folder: Path, shards: int = 3) -> FolderFiles:
    rows = []
    for n in range(18):
        text, lang, category = [
            (ENGLISH, "en", "foundation"), (CHINESE * 2, "zh-Hans", "foundation"),
            (CODE, "code", "code"),
        ][n % 3]  # fmt: skip
        for word in ("Baltic Sea", "长江", "clamp", "water", "湖泊"):
            text = text.replace(word, f"{word}{n}")
        rows.append(
            make_document(
                text,
                source="lakes",
                category=category,
                lang=lang,
                license="CC-BY-4.0",
                origin=str(n),
                tier=("low", "high")[n % 2],
                meta={"domain": ("seas", "general")[n % 2]} if n % 5 else {},
            )
        )
    rows.append(
        make_document("Short.", source="x", category="math", lang="en", license="x", origin="s")
    )
    folder.mkdir()
    for i in range(shards):
        write_documents(folder / f"lakes-{i:05d}.parquet", rows[i::shards])
    return FolderFiles(folder)


def context(config: SynthesisConfig, out: Path, **inputs: FolderFiles) -> StepContext[Any]:
    return StepContext(config, inputs, FolderOutput(out), RuntimeConfig(workers=1), seed=5)


def rows(out: Path) -> list[dict[str, Any]]:
    return [r for f in sorted(out.glob("*.parquet")) for r in pq.read_table(f).to_pylist()]


def digests(out: Path) -> dict[str, str]:
    names = [r.name for r in FolderFiles(out).records()]
    return {n: hashlib.sha256((out / n).read_bytes()).hexdigest() for n in names}


class Serial:
    """Stands in for Ray; see the tests of quality."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.stop_after: int | None = None

    def __call__(self, fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
        results = []
        for shard in shards:
            if self.stop_after is not None and len(self.ran) >= self.stop_after:
                raise KeyboardInterrupt
            copies = pickle.loads(pickle.dumps((shard, *args)))
            results.append(fn(*copies))
            self.ran.append(shard.answers)
        return results


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> Serial:
    runner = Serial()
    monkeypatch.setattr(step, "map_shards", runner)
    return runner


class TestRows:
    def test_every_row_is_labelled_with_its_lineage(self, tmp_path: Path, serial: Serial) -> None:
        files = documents(tmp_path / "in")
        origin = {r["id"]: r for r in rows(tmp_path / "in")}
        metrics = synthesise(context(CONFIG, tmp_path / "out", documents=files))
        found = rows(tmp_path / "out")
        assert len(found) == metrics["documents_out"] > 20
        for row in found:
            meta = json.loads(row["meta"])
            source = origin[meta["source_id"]]
            assert meta["teacher"] == "extractive"
            assert meta["prompt_version"] >= 1
            assert row["source"] == f"synthetic-{meta['recipe']}"
            assert row["category"] == "cot"
            assert row["license"] == source["license"]
            assert row["lang"] == ("zh-Hans" if source["lang"] == "zh-Hans" else "en")
            assert meta["query"] in row["text"]
        assert len({row["id"] for row in found}) == len(found)
        file = next((tmp_path / "out").glob("synthetic-00000.parquet"))
        assert pq.read_schema(file).names == DOCUMENT_SCHEMA.names

    def test_mixtures_select_rows_as_they_select_documents(
        self, tmp_path: Path, serial: Serial
    ) -> None:
        files = documents(tmp_path / "in")
        origin = {r["id"]: r for r in rows(tmp_path / "in")}
        synthesise(context(CONFIG, tmp_path / "out", documents=files))
        found = rows(tmp_path / "out")
        domains = {domain_of(row["meta"]) for row in found}
        assert domains == {"seas", "general", ""}
        for row in found:
            source = origin[json.loads(row["meta"])["source_id"]]
            assert domain_of(row["meta"]) == domain_of(source["meta"])
            assert ("domain" in json.loads(row["meta"])) == bool(domain_of(source["meta"]))
            assert row["tier"] == ""
        config = CONFIG.model_copy(update={"inherit_tier": True})
        synthesise(context(config, tmp_path / "tiers", documents=files))
        graded = rows(tmp_path / "tiers")
        assert {row["tier"] for row in graded} == {"low", "high"}
        assert [r | {"tier": ""} for r in graded] == found

    def test_metrics_add_up(self, tmp_path: Path, serial: Serial) -> None:
        files = documents(tmp_path / "in")
        metrics = synthesise(context(CONFIG, tmp_path / "out", documents=files))
        for recipe in metrics["recipes"].values():
            assert recipe["rows"] == recipe["kept"] + sum(recipe["rejected"].values())
            assert sum(recipe["lengths"]) == recipe["kept"]
            assert recipe["side_by_side"][0]["text"]
        assert metrics["recipes"]["long_cot_backward"]["documents"] == 12
        assert metrics["requests"] > 0
        assert metrics["cost_usd"] == 0
        json.dumps(metrics, allow_nan=False)

    def test_repeated_rows_are_rejected_across_shards(self, tmp_path: Path, serial: Serial) -> None:
        (tmp_path / "in").mkdir()
        for i in range(2):
            row = make_document(
                ENGLISH, source="s", category="foundation", lang="en", license="x", origin=str(i)
            )
            write_documents(tmp_path / f"in/s-{i:05d}.parquet", [row])
        config = CONFIG.model_copy(update={"shard_documents": 1, "recipes": RECIPES[:1]})
        files = FolderFiles(tmp_path / "in")
        metrics = synthesise(context(config, tmp_path / "out", documents=files))
        recipe = metrics["recipes"]["simple_qa"]
        assert recipe["rejected"]["exact_duplicate"] == recipe["kept"]

    def test_rows_with_an_evaluation_item_are_rejected(
        self, tmp_path: Path, serial: Serial
    ) -> None:
        text = "salinity of the water0 is a third of that of the oceans, because many rivers carry"
        files = documents(tmp_path / "in")
        (tmp_path / "bench").mkdir()
        item = {"task": "quiz", "id": "1", "query": text}
        pq.write_table(pa.Table.from_pylist([item]), tmp_path / "bench/q.parquet")
        given = {"documents": files, "benchmarks": FolderFiles(tmp_path / "bench")}
        metrics = synthesise(context(CONFIG, tmp_path / "out", **given))
        assert metrics["dropped"]["contaminated"] >= 1
        assert not [r for r in rows(tmp_path / "out") if "water0 is a third" in r["text"]]
        lines = (tmp_path / "out/contamination.jsonl").read_text().splitlines()
        listed = [json.loads(line) for line in lines]
        assert len(listed) == metrics["dropped"]["contaminated"]
        assert {(r["task"], r["item"]) for r in listed} == {("quiz", "1")}
        assert all(text.startswith(r["text"][:20]) for r in listed)

    def test_rows_are_held_to_the_limits_of_the_documents(
        self, tmp_path: Path, serial: Serial
    ) -> None:
        files = documents(tmp_path / "in")
        (tmp_path / "bench").mkdir()
        item = {"task": "quiz", "id": "1", "query": "salt water0 from the North Sea stops"}
        (tmp_path / "bench/q.jsonl").write_text(json.dumps(item))
        given = {"documents": files, "benchmarks": FolderFiles(tmp_path / "bench")}
        dropped = []
        for words in (8, 4):
            limits = DecontaminationConfig(min_words=words)
            config = CONFIG.model_copy(update={"decontamination": limits})
            metrics = synthesise(context(config, tmp_path / f"out{words}", **given))
            dropped.append(metrics["dropped"].get("contaminated", 0))
        assert dropped[0] == 0 < dropped[1]


class TestDraw:
    def test_the_same_documents_are_drawn_from_other_shards(self, tmp_path: Path) -> None:
        few = CONFIG.model_copy(
            update={"recipes": (RECIPES[0].model_copy(update={"max_documents": 5}),)}
        )
        drawn = []
        for shards in (1, 4):
            files = documents(tmp_path / f"in{shards}", shards)
            ids = set()
            for work in draw(files, few, seed=3):
                for name, row in work.rows:
                    ids.add(pq.read_table(files.local(name))["id"][row].as_py())
            drawn.append(ids)
        assert drawn[0] == drawn[1]
        assert len(drawn[0]) == 5

    def test_another_seed_draws_others_and_pieces_are_bounded(self, tmp_path: Path) -> None:
        files = documents(tmp_path / "in")
        few = CONFIG.model_copy(
            update={"recipes": (RECIPES[0].model_copy(update={"max_documents": 6}),)}
        )
        drawn = [[w.rows for w in draw(files, few, seed)] for seed in range(6)]
        assert len({str(d) for d in drawn}) > 1
        assert all(len(rows) <= 4 for d in drawn for rows in d)

    def test_no_recipe_or_no_fitting_document_makes_nothing(
        self, tmp_path: Path, serial: Serial
    ) -> None:
        files = documents(tmp_path / "in")
        nothing = CONFIG.model_copy(update={"recipes": ()})
        assert synthesise(context(nothing, tmp_path / "a", documents=files))["documents_out"] == 0
        math = CONFIG.model_copy(
            update={"recipes": (RecipeConfig(name="simple_qa", categories=("math",)),)}
        )
        assert synthesise(context(math, tmp_path / "b", documents=files))["documents_out"] == 0

    def test_a_recipe_named_twice_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="merge"):
            SynthesisConfig(recipes=(RECIPES[0], RECIPES[0]))


class TestResume:
    @pytest.mark.parametrize("kill_after", [0, 1, 4])
    def test_a_killed_step_goes_on(self, tmp_path: Path, serial: Serial, kill_after: int) -> None:
        files = documents(tmp_path / "in")
        whole = synthesise(context(CONFIG, tmp_path / "whole", documents=files))
        serial.ran.clear()
        serial.stop_after = kill_after
        with pytest.raises(KeyboardInterrupt):
            synthesise(context(CONFIG, tmp_path / "killed", documents=files))
        serial.stop_after = None
        assert synthesise(context(CONFIG, tmp_path / "killed", documents=files)) == whole
        assert len(serial.ran) == len(set(serial.ran))
        assert digests(tmp_path / "killed") == digests(tmp_path / "whole")

    def test_a_kill_while_rows_are_written_changes_nothing(
        self, tmp_path: Path, serial: Serial, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = documents(tmp_path / "in")
        whole = synthesise(context(CONFIG, tmp_path / "whole", documents=files))
        written: list[Path] = []

        def write_two(path: Path, documents: Any) -> int:
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(path)
            return write_documents(path, documents)

        monkeypatch.setattr(writing, "write_documents", write_two)
        with pytest.raises(KeyboardInterrupt):
            synthesise(context(CONFIG, tmp_path / "killed", documents=files))
        monkeypatch.setattr(writing, "write_documents", write_documents)
        assert synthesise(context(CONFIG, tmp_path / "killed", documents=files)) == whole
        assert digests(tmp_path / "killed") == digests(tmp_path / "whole")

    def test_an_endpoint_that_goes_away_fails_the_step_and_no_answer_is_lost(
        self, tmp_path: Path, endpoint: Endpoint
    ) -> None:
        teacher = endpoint.teacher(price_in=2.0, price_out=10.0, concurrency=1)
        config = CONFIG.model_copy(update={"teacher": teacher, "recipes": RECIPES[:1]})
        files = documents(tmp_path / "in")
        endpoint.server.faults = [""] * 12 + ["500"] * 100
        with pytest.raises(TransientError):
            synthesise(context(config, tmp_path / "out", documents=files))
        assert endpoint.server.served["ok"] == 12
        assert len(FolderOutput(tmp_path / "out").shards()) >= 2
        endpoint.server.faults = []
        metrics = synthesise(context(config, tmp_path / "out", documents=files))
        assert endpoint.server.served["ok"] == metrics["requests"] == 18
        assert metrics["ledger"]["simple_qa"]["sent"] == 6
        assert metrics["teacher"] == "tiny"
        assert metrics["cost_usd"] == pytest.approx(18 * (100 * 2 + 20 * 10) / 1e6)
        assert (
            metrics["recipes"]["simple_qa"]["rejected"]["exact_duplicate"] > 0
        )  # one canned answer
