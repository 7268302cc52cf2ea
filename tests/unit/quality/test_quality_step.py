from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quality_small import PROSE, Serial, context, corpus, digests, document, write_shards

from openseek.artifacts.folder import FolderFiles
from openseek.config.labelling import ClassifierConfig
from openseek.config.quality import (
    FluencyConfig,
    HeuristicScorerConfig,
    LinearScorerConfig,
    QualityConfig,
)
from openseek.config.runtime import RuntimeConfig
from openseek.errors import DataError
from openseek.quality.linear import Sample, train
from openseek.quality.plan import make_plan, strange
from openseek.quality.scorers import snapshot
from openseek.quality.step import score

CONFIG = QualityConfig(fluency=FluencyConfig(table_bits=16))


def rows(out: Path) -> list[dict[str, Any]]:
    files = sorted(out.glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


class TestScore:
    def test_documents_get_score_tier_and_raw_scores(self, tmp_path: Path, serial: Serial) -> None:
        files = write_shards(tmp_path / "in", corpus())
        metrics = score(context(CONFIG, tmp_path / "out", documents=files))
        found = rows(tmp_path / "out")
        assert sorted(p.name for p in (tmp_path / "out").glob("*.parquet")) == sorted(corpus())
        for row in found:
            assert 0 <= row["score"] <= 1
            assert row["tier"] in ("low", "medium", "high")
            assert set(json.loads(row["meta"])["scores"]) == {"heuristic", "bits_per_char"}
            assert json.loads(row["meta"])["domain"] in ("general", "technology", "science")
        for counts in metrics["tiers"].values():
            assert max(counts.values()) - min(counts.values()) <= 0.1 * sum(counts.values()) + 1
        assert metrics["documents_in"] == 300
        assert metrics["documents_out"] == len(found)
        assert metrics["by_source"]["xinhua"]["documents_in"] == 40
        json.dumps(metrics, allow_nan=False)

    def test_the_strangest_document_of_a_domain_is_dropped(
        self, tmp_path: Path, serial: Serial
    ) -> None:
        shards = corpus()
        noise = shards["books-00001.parquet"][10]["id"]
        files = write_shards(tmp_path / "in", shards)
        metrics = score(context(CONFIG, tmp_path / "out", documents=files))
        assert metrics["dropped"] == {"perplexity": 1}
        assert [s["id"] for s in metrics["samples"]["perplexity"]] == [noise]
        assert noise not in {r["id"] for r in rows(tmp_path / "out")}

    def test_small_domains_share_a_cut_and_large_ones_have_their_own(self) -> None:
        n = 600
        bits = np.concatenate([np.linspace(2, 4, n), np.linspace(6, 9, 3), np.linspace(1, 5, 2)])
        domains = ["code"] * n + ["law"] * 3 + ["news"] * 2
        raw = pa.table(
            {
                "lang": ["en"] * len(bits), "category": ["foundation"] * len(bits),
                "domain": domains, "heuristic": pa.array(bits, pa.float32()),
                "bits_per_char": pa.array(bits, pa.float32()),
            }
        )  # fmt: skip
        plan = make_plan(lambda: [raw], CONFIG)
        assert plan.cuts["law/en"] == plan.cuts["news/en"] != plan.cuts["code/en"]
        dropped = strange(raw, plan, CONFIG)
        assert 1 <= dropped[:n].sum() <= 3
        assert not dropped[n:].any()  # the strangest of five is no outlier
        together = CONFIG.model_copy(
            update={"fluency": CONFIG.fluency.model_copy(update={"group": "category"})}
        )
        assert strange(raw, make_plan(lambda: [raw], together), together)[n:].any()

    def test_a_trained_classifier_joins_the_ensemble(self, tmp_path: Path, serial: Serial) -> None:
        texts = [PROSE, "buy now cheap sale"] * 40
        sample = Sample.of(texts, [1, 0] * 40)
        train(sample, sample, ClassifierConfig(bucket_bits=12), 2, 0)[0].save(tmp_path / "model")
        files = write_shards(tmp_path / "in", corpus())
        scored = []
        for place, inputs in (
            (str(tmp_path / "model"), {}), ("", {"classifier": FolderFiles(tmp_path / "model")})
        ):  # fmt: skip
            linear = LinearScorerConfig(kind="linear", name="edu", model=place)
            config = CONFIG.model_copy(update={"scorers": (HeuristicScorerConfig(), linear)})
            out = tmp_path / f"out{len(scored)}"
            score(context(config, out, documents=files, **inputs))
            scored.append(digests(out))
            kept = [json.loads(r["meta"])["scores"] for r in rows(out)]
            assert all(0 <= s["edu"] <= 1 and "heuristic" in s for s in kept)
        assert scored[0] == scored[1]

    def test_a_model_is_known_by_its_content(self, tmp_path: Path) -> None:
        seen = []
        for name, body in (("a", b"one"), ("b", b"one"), ("c", b"two")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "classifier.json").write_bytes(body)
            linear = LinearScorerConfig(kind="linear", name="edu", model=str(tmp_path / name))
            config = QualityConfig(scorers=(linear,))
            seen.append((snapshot(config, RuntimeConfig()), config.identity()))
        assert seen[0] == seen[1]
        assert seen[0] != seen[2]

    def test_a_model_of_a_hub_is_known_by_its_name(self) -> None:
        seen = [
            snapshot(QualityConfig(fluency={"model": name}), RuntimeConfig())
            for name in ("", "someone/small", "someone/other")
        ]
        assert seen[0] == {}
        assert seen[1] != seen[2]

    def test_a_better_raw_score_never_gets_a_lower_score(
        self, tmp_path: Path, serial: Serial
    ) -> None:
        files = write_shards(tmp_path / "in", corpus())
        score(context(CONFIG, tmp_path / "out", documents=files))
        for lang in ("en", "zh-Hans"):
            pairs = sorted(
                (json.loads(r["meta"])["scores"]["heuristic"], r["score"])
                for r in rows(tmp_path / "out")
                if r["lang"] == lang
            )
            ranks = [final for _, final in pairs]
            assert all(b >= a - 0.01 for a, b in pairwise(ranks))

    def test_shards_do_not_matter(self, tmp_path: Path, serial: Serial) -> None:
        """The same documents in other shards get the same scores and tiers."""
        one = write_shards(tmp_path / "a", corpus())
        everything = [row for shard in corpus().values() for row in shard]
        other = write_shards(
            tmp_path / "b", {f"x-{i:05d}.parquet": everything[i::7] for i in range(7)}
        )
        score(context(CONFIG, tmp_path / "a-out", documents=one))
        score(context(CONFIG, tmp_path / "b-out", documents=other))
        first = {r["id"]: (r["score"], r["tier"], r["meta"]) for r in rows(tmp_path / "a-out")}
        second = {r["id"]: (r["score"], r["tier"], r["meta"]) for r in rows(tmp_path / "b-out")}
        assert first == second

    @pytest.mark.parametrize("kill_after", [0, 2, 5, 9, 11])
    def test_a_killed_step_goes_on(self, tmp_path: Path, serial: Serial, kill_after: int) -> None:
        files = write_shards(tmp_path / "in", corpus())
        whole = score(context(CONFIG, tmp_path / "whole", documents=files))
        serial.ran.clear()
        serial.stop_after = kill_after
        with pytest.raises(KeyboardInterrupt):
            score(context(CONFIG, tmp_path / "killed", documents=files))
        before = list(serial.ran)
        serial.stop_after = None
        resumed = score(context(CONFIG, tmp_path / "killed", documents=files))
        after = serial.ran
        assert len(after) == len(set(after)) == 12  # 4 counted, 4 raw, 4 final: nothing twice
        assert after[: len(before)] == before
        assert resumed == whole
        assert digests(tmp_path / "killed") == digests(tmp_path / "whole")

    def test_bad_meta_is_quarantined(self, tmp_path: Path, serial: Serial) -> None:
        shards = corpus()
        shards["books-00000.parquet"][3]["meta"] = "{cut sho"
        files = write_shards(tmp_path / "in", shards)
        metrics = score(context(CONFIG, tmp_path / "out", documents=files))
        assert metrics["quarantined"] == {"bad_meta": 1}
        line = (tmp_path / "out/quarantine/books-00000.jsonl").read_text()
        assert json.loads(line)["id"] == shards["books-00000.parquet"][3]["id"]

    def test_empty_shards_and_texts_pass(self, tmp_path: Path, serial: Serial) -> None:
        files = write_shards(
            tmp_path / "in", {"a-00000.parquet": [], "a-00001.parquet": [document("", 1)]}
        )
        metrics = score(context(CONFIG, tmp_path / "out", documents=files))
        assert metrics["documents_out"] == 1

    def test_a_foreign_file_is_a_clear_error(self, tmp_path: Path, serial: Serial) -> None:
        files = write_shards(tmp_path / "in", {"a-00000.parquet": [document("text", 1)]})
        (tmp_path / "in/a-00000.parquet").write_bytes(b"not parquet")
        with pytest.raises(DataError, match="not a parquet file"):
            score(context(CONFIG, tmp_path / "out", documents=files))


@pytest.mark.slow
@pytest.mark.ray
def test_on_ray_the_bytes_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from openseek import compute
    from openseek.quality import fluency_pass, step

    files = write_shards(tmp_path / "in", corpus())
    with monkeypatch.context() as patch:
        patch.setattr(step, "map_shards", Serial())
        patch.setattr(fluency_pass, "map_shards", Serial())
        serially = score(context(CONFIG, tmp_path / "serial", documents=files))
    try:
        on_ray = score(context(CONFIG, tmp_path / "ray", documents=files))
    finally:
        compute.shutdown()
    assert on_ray == serially
    assert digests(tmp_path / "ray") == digests(tmp_path / "serial")
