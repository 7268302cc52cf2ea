"""The cascade: order and reasons, what is published where, the same bytes however it ran."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_rows import CODE, TESTS, Serial, problem, qa, rejected, run, task, text
from synthesis_small import Endpoint
from test_synthesis_step import digests
from test_synthesis_step import rows as published

from openseek.artifacts.folder import FolderFiles
from openseek.config.synthesis import SynthesisConfig
from openseek.config.verification import (
    CASCADE,
    JudgeCheck,
    MathematicsCheck,
    RewardCheck,
    VerificationConfig,
)
from openseek.errors import TransientError
from openseek.synthesis import Row, writing
from openseek.synthesis.verification import cascade, reward
from openseek.synthesis.verification.judge import agreement

CONFIG = SynthesisConfig()
GERMAN = (
    "Die Gezeiten entstehen durch die Anziehung des Mondes und der Sonne, und wie hoch sie sind, "
    "hängt von der Form der Küste und von der Tiefe des Wassers ab."
)


def strict(**given: Any) -> SynthesisConfig:
    return SynthesisConfig(verification=VerificationConfig(**given))


@pytest.fixture(autouse=True)
def serial(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Serial:
    runner = Serial()
    if "ray" not in request.keywords:
        monkeypatch.setattr(cascade, "map_shards", runner)
    return runner


class TestReasons:
    def test_each_row_gets_the_first_reason_in_the_order_of_the_cascade(
        self, tmp_path: Path
    ) -> None:
        copied = "depends on the shape of a coast, on the depth of the water and on the phase of"
        rows = [
            [qa(1), qa(1), qa(1, qa(1).answer + " Truly."), qa(2, "No.")],
            [qa(3, GERMAN), qa(4, copied + " the moon"), problem(5), problem(5)],
            [problem(6, "19"), problem(17, "50")],
            [problem(7, extra={"votes": {"21": 1, "20": 3}}), problem(8, extra={"votes": ["24"]})],
            [task(9), task(10, "```python\ndef double(x): return x\n```"), task(11, tests="pass")],
            [text(12), text(12), text(13)],
        ]
        metrics = run(tmp_path, rows, CONFIG)
        assert [(r["row"][-2:], r["reason"]) for r in rejected(tmp_path)] == [
            ("#1", "exact_duplicate"), ("#2", "near_duplicate"), ("#3", "answer_length"),
            ("#0", "language"), ("#1", "copied"), ("#3", "exact_duplicate"),
            ("#0", "final_differs"), ("#1", "final_differs"), ("#0", "votes_differ"),
            ("#1", "code_failed"), ("#2", "tests_empty"), ("#1", "exact_duplicate"),
        ]  # fmt: skip
        recipe = metrics["recipes"]["simple_qa"]
        assert recipe["rows"] == 18
        assert recipe["rows"] == recipe["kept"] + sum(recipe["rejected"].values())
        assert metrics["verification"]["checks"] == [
            c for c in CASCADE if c not in ("reward", "judge")
        ]

    def test_a_row_that_fails_twice_gets_the_cheaper_reason(self, tmp_path: Path) -> None:
        rows = [[qa(1), qa(1, "Short."), problem(2, "7", extra={"votes": ["9"]}), problem(2, "7")]]
        run(tmp_path, rows, CONFIG)
        found = {r["row"][-2:]: r["reason"] for r in rejected(tmp_path)}
        assert found == {"#1": "answer_length", "#2": "final_differs", "#3": "exact_duplicate"}

    def test_checks_can_be_switched_off(self, tmp_path: Path) -> None:
        rows = [[qa(3, GERMAN), problem(6, "19"), task(11, tests="pass")]]
        config = strict(language=0, mathematics={"enabled": False}, code={"enabled": False})
        metrics = run(tmp_path, rows, config)
        assert rejected(tmp_path) == []
        assert not {"language", "mathematics", "code"} & set(metrics["verification"]["checks"])

    def test_a_rejected_row_has_all_details_within_bounds(self, tmp_path: Path) -> None:
        loud = "```python\nprint('x' * 5000)\nraise ValueError('here')\n```"
        long = text(1)
        rows = [[task(1, loud), long, long]]
        run(tmp_path, rows, strict(rejected_chars=50))
        code, twin = rejected(tmp_path)
        assert code["details"]["exit_code"] == 1
        assert "ValueError: here" in code["details"]["output"]
        assert len(code["details"]["output"]) <= 500
        assert twin["details"] == {"of": f"simple_qa/{0:032x}#1", "similarity": 1.0}
        assert len(twin["text"]) == 50
        assert twin["checks"]["length"] == len(long.text)


class TestPublished:
    def test_tags_are_no_rows_and_answers_that_name_no_conclusion_are_not_compared(
        self, tmp_path: Path
    ) -> None:
        vague = problem(2, "B", answer="B. It has two boats, or so they said in 1903.")
        metrics = run(tmp_path, [[Row(kind="tags", extra={"topics": ["tides"]}), vague]], CONFIG)
        assert metrics["recipes"]["simple_qa"]["rows"] == 1
        (kept,) = published(tmp_path)
        assert "mathematics" not in json.loads(kept["meta"])["checks"]

    def test_kept_rows_say_what_they_passed(self, tmp_path: Path) -> None:
        run(tmp_path, [[qa(1), problem(2, extra={"votes": ["6", "6", "5"]}), text(3)]], CONFIG)
        metas = [json.loads(r["meta"]) for r in published(tmp_path)]
        assert [m["kind"] for m in metas] == ["qa", "problem", "text"]
        assert metas[1]["checks"]["mathematics"] == pytest.approx(2 / 3, abs=1e-4)
        for meta in metas:
            checks = meta["checks"]
            assert {"length", "language", "copied", "near_duplicate"} <= set(checks)
            assert all(isinstance(v, int | float) for v in checks.values())
        assert "query" not in metas[2]

    def test_kinds_are_laid_out_and_published_each_in_its_way(self, tmp_path: Path) -> None:
        math = SynthesisConfig(recipes=())
        run(tmp_path, [[problem(2), text(3), task(4)]], math)
        made, rewritten = published(tmp_path)
        assert made["text"].startswith("Question: At harbour 2")
        assert "\n\nReasoning:\n1. Start with 2 boats." in made["text"]
        assert made["text"].endswith("The answer is 6.")
        assert rewritten["text"] == text(3).text
        lines = (tmp_path / "rl-00000.jsonl").read_text().splitlines()
        (found,) = map(json.loads, lines)
        assert (found["tests"], found["answer"]) == (TESTS, CODE)
        assert json.loads(found["meta"])["checks"]["code"] == 1
        assert "rl-00000.jsonl" in {r.name for r in FolderFiles(tmp_path).records()}

    def test_evaluation_items_are_looked_for_last(self, tmp_path: Path) -> None:
        (tmp_path / "bench").mkdir()
        query = "At harbour 2 there are 2 boats and then twice as many come. How many are there?"
        item = [{"task": "quiz", "id": "1", "query": query}]
        pq.write_table(pa.Table.from_pylist(item), tmp_path / "bench/q.parquet")
        rows = [[problem(2), problem(2, "7"), qa(3)]]
        run(tmp_path / "out", rows, CONFIG, benchmarks=FolderFiles(tmp_path / "bench"))
        first, second = rejected(tmp_path / "out")
        assert first["reason"] == "contaminated"
        assert first["checks"]["mathematics"] == 1
        assert second["reason"] == "exact_duplicate"


class TestReward:
    def test_the_worst_of_each_domain_go_whatever_their_scale(self) -> None:
        scores = {f"a{i}": ("math", float(i)) for i in range(50)}
        scores |= {f"b{i}": ("code", 1000.0 + i) for i in range(30)}
        scores |= {f"c{i}": (f"rare{i}", -5.0 + i) for i in range(10)}
        config = RewardCheck(model="x", drop_quantile=0.1)
        gone, limits = reward.worst(scores, config)
        assert gone == {f"a{i}" for i in range(5)} | {f"b{i}" for i in range(3)} | {"c0"}
        assert limits == {"math": 5.0, "code": 1003.0, reward.REST: -4.0}
        backwards = dict(reversed(scores.items()))
        assert reward.worst(backwards, config) == (gone, limits)

    @pytest.mark.slow
    def test_a_model_scores_rows_in_batches(self, tmp_path: Path) -> None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "quality"))
        from test_transformer import classifier

        check = RewardCheck(
            model=classifier(tmp_path / "model", 1), drop_quantile=0.25, min_rows=4, max_tokens=64,
        )  # fmt: skip
        rows = [[qa(i), qa(i + 100)] for i in range(8)]
        metrics = run(tmp_path / "out", rows, strict(reward=check))
        assert metrics["recipes"]["simple_qa"]["rejected"] == {"low_reward": 4}
        assert metrics["verification"]["reward"]["rows"] == 16
        kept = [json.loads(r["meta"]) for r in published(tmp_path / "out")]
        lowest = metrics["verification"]["reward"]["lowest_kept"]
        assert all(m["checks"]["reward"] >= lowest[m["domain"]] for m in kept)
        assert all(r["checks"]["reward"] for r in rejected(tmp_path / "out"))


JUDGED = [
    [qa(i), qa(i + 100, f"It is made by the moon alone, says sailor {i}."), qa(i, "No.")]
    for i in range(6)
]


class TestJudge:
    def config(self, endpoint: Endpoint, **given: Any) -> SynthesisConfig:
        check = JudgeCheck(teacher=endpoint.teacher(), **({"share": 1.0} | given))
        return strict(judge=check)

    def test_what_it_grades_low_is_rejected_and_agreement_is_told(
        self, tmp_path: Path, endpoint: Endpoint
    ) -> None:
        metrics = run(tmp_path, JUDGED, self.config(endpoint))
        reasons = metrics["recipes"]["simple_qa"]["rejected"]
        assert reasons == {"answer_length": 6, "judged_bad": 6}
        found = metrics["verification"]["judge"]
        assert (found["kept_good"], found["kept_bad"]) == (6, 6)
        assert (found["rejected_good"], found["rejected_bad"]) == (6, 0)
        assert found["precision"] == 0.5
        assert found["by_reason"] == {"answer_length": [6, 6]}
        assert found["usage"]["requests"] == len(endpoint.server.seen) == 18
        assert found["by_recipe"]["simple_qa"]["judged"] == 18
        said = [r["details"] for r in rejected(tmp_path) if r["reason"] == "judged_bad"]
        assert said == [{"judge_said": "It is about the moon."}] * 6
        assert all(json.loads(r["meta"])["checks"]["judge"] == 4 for r in published(tmp_path))

    def test_the_sample_is_a_share_drawn_by_hash(self, tmp_path: Path, endpoint: Endpoint) -> None:
        few = run(tmp_path / "a", JUDGED, self.config(endpoint, share=0.4, rejected=False))
        judged = few["verification"]["judge"]["judged"]
        assert 0 < judged < 12
        again = run(tmp_path / "b", JUDGED, self.config(endpoint, share=0.4, rejected=False))
        assert digests(tmp_path / "a") == digests(tmp_path / "b")
        assert again["verification"] == few["verification"]

    def test_a_judge_that_fails_halfway_goes_on_where_it_was(
        self, tmp_path: Path, endpoint: Endpoint
    ) -> None:
        config = self.config(endpoint)
        endpoint.server.faults = [""] * 6 + ["500"] * 100
        with pytest.raises(TransientError):
            run(tmp_path / "killed", JUDGED, config)
        endpoint.server.faults = []
        resumed = run(tmp_path / "killed", JUDGED, config)
        assert endpoint.server.served["ok"] == 18  # the first piece's six are not asked again
        assert run(tmp_path / "whole", JUDGED, config) == resumed
        assert digests(tmp_path / "killed") == digests(tmp_path / "whole")

    def test_agreement_is_cohens(self) -> None:
        rows = [("", 4)] * 20 + [("", 1)] * 5 + [("copied", 4)] * 10 + [("copied", 2)] * 15
        found = agreement([*rows, ("", 0)], 3)
        assert (found["agreement"], found["kappa"]) == (0.7, 0.4)
        assert (found["judged"], found["failed"], found["precision"]) == (50, 1, 0.8)
        nothing = agreement([], 3)
        assert (nothing["agreement"], nothing["kappa"], nothing["precision"]) == (None,) * 3


MIXED = [
    [qa(i), problem(i), problem(i, "1"), task(i, CODE if i % 2 else "x = 1"), text(i)]
    for i in range(1, 9)
]
QUICK = strict(code={"control": False}, mathematics=MathematicsCheck(cpu_s=2))


class TestSameBytes:
    @pytest.fixture(scope="class")
    def whole(self, tmp_path_factory: pytest.TempPathFactory) -> Any:
        folder = tmp_path_factory.mktemp("whole")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cascade, "map_shards", Serial())
            return run(folder, MIXED, QUICK), digests(folder)

    def test_another_order_of_workers(self, tmp_path: Path, whole: Any, serial: Serial) -> None:
        serial.backwards = True
        assert (run(tmp_path, MIXED, QUICK), digests(tmp_path)) == whole
        assert serial.ran == ["checked-00003", "checked-00002", "checked-00001", "checked-00000"]

    @pytest.mark.parametrize("kill_after", [0, 1, 3])
    def test_a_kill_within_the_cascade(
        self, tmp_path: Path, whole: Any, serial: Serial, kill_after: int
    ) -> None:
        serial.stop_after = kill_after
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, MIXED, QUICK)
        serial.stop_after = None
        assert (run(tmp_path, MIXED, QUICK), digests(tmp_path)) == whole
        assert len(serial.ran) == 4  # no piece was checked twice

    def test_a_kill_while_rows_are_written(
        self, tmp_path: Path, whole: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, written = writing.write_documents, list[Path]()

        def write_two(path: Path, documents: Any) -> int:
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(path)
            return real(path, documents)

        monkeypatch.setattr(writing, "write_documents", write_two)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, MIXED, QUICK)
        monkeypatch.setattr(writing, "write_documents", real)
        assert (run(tmp_path, MIXED, QUICK), digests(tmp_path)) == whole

    @pytest.mark.ray
    @pytest.mark.slow
    def test_any_number_of_workers(self, tmp_path: Path, whole: Any) -> None:
        from openseek.compute import shutdown

        try:
            for workers in (5, 2, 1):
                folder = tmp_path / str(workers)
                assert (run(folder, MIXED, QUICK, workers), digests(folder)) == whole
        finally:
            shutdown()
