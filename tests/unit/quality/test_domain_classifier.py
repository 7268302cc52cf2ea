from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quality_small import Serial, context, digests, document, write_shards

from openseek.artifacts.folder import FolderFiles
from openseek.config.labelling import ClassifierConfig, DomainClassifierConfig
from openseek.config.quality import DomainsConfig, QualityConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import ConfigError, DataError
from openseek.quality.agreement import label_agreement
from openseek.quality.domains import GENERAL, domain_names, load_labeller
from openseek.quality.domains_step import snapshot, train_domains
from openseek.quality.heuristic import pack
from openseek.quality.labels import draw
from openseek.quality.linear import Sample, train
from openseek.quality.step import score

CONFIG = DomainClassifierConfig(bucket_bits=12, epochs=6, least_rows=5)
WORDS = {
    "law": ["court", "judge", "statute", "appeal", "法院", "判决"],
    "music": ["chord", "sonata", "violin", "rhythm", "钢琴", "旋律"],
    "ships": ["keel", "mast", "harbour", "anchor", "港口", "船长"],
}


def rows(n: int, seed: int = 1) -> list[dict[str, Any]]:
    """Texts of shared filler with words of their domain; some without a label."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(n):
        name = list(WORDS)[i % 3]
        filler = [f"w{k}" for k in random.integers(0, 200, 30)]
        filler[4:4] = random.choice(WORDS[name], 4).tolist()
        made.append({"id": f"{seed}-{i}", "text": " ".join(filler), "domain": name})
    return made


def draw_hash(doc_id: str) -> bytes:
    return hashlib.blake2b(doc_id.encode(), digest_size=8, person=b"draw").digest()


def write_parquet(folder: Path, made: list[dict[str, Any]]) -> FolderFiles:
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(made), folder / "labels.parquet")
    return FolderFiles(folder)


def write_jsonl(path: Path, made: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    data = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in made).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


class TestTraining:
    def test_it_learns_the_names_of_a_column(self, tmp_path: Path) -> None:
        inputs = {"labels": write_parquet(tmp_path / "in", rows(600))}
        metrics = train_domains(context(CONFIG, tmp_path / "out", **inputs))
        assert metrics["labels"] == ["law", "music", "ships"]
        assert sum(metrics["documents"].values()) == metrics["rows"] == 600
        told = metrics["agreement"]
        assert told["accuracy"] > 0.95
        assert told["macro_f1"] > 0.95
        assert told["accuracy_constant"] < 0.5
        assert np.sum(told["confusion"]) == told["documents"] == metrics["documents"]["test"]
        json.dumps(metrics, allow_nan=False)
        model = load_labeller(str(tmp_path / "out"))
        held = rows(90, seed=2)
        found = model.label_buffer(*pack([r["text"] for r in held]), 0.0, GENERAL)
        assert np.mean([f == r["domain"] for f, r in zip(found, held, strict=True)]) > 0.95
        assert model.label_buffer(*pack(["nothing of all that"]), 0.99, GENERAL) == [GENERAL]
        assert model.label_buffer(*pack([]), 0.5, GENERAL) == []

    def test_the_form_and_order_of_the_files_change_nothing(self, tmp_path: Path) -> None:
        made = rows(120)
        train_domains(context(CONFIG, tmp_path / "a", labels=write_parquet(tmp_path / "in", made)))
        write_jsonl(tmp_path / "b-in/one.jsonl.gz", made[60:][::-1])
        write_jsonl(tmp_path / "b-in/two.jsonl", made[:60])
        (tmp_path / "b-in/README.txt").write_text("passed over")
        train_domains(context(CONFIG, tmp_path / "b", labels=FolderFiles(tmp_path / "b-in")))
        given = CONFIG.model_copy(update={"labels": str(tmp_path / "b-in")})
        train_domains(context(given, tmp_path / "c"))
        assert digests(tmp_path / "a") == digests(tmp_path / "b") == digests(tmp_path / "c")

    def test_labels_inside_of_meta_and_of_the_schema(self, tmp_path: Path) -> None:
        made = [
            document(r["text"], i, source=r["domain"], meta={"domain": r["domain"]})
            for i, r in enumerate(rows(90))
        ]
        shards = write_shards(tmp_path / "in", {"all-00000.parquet": made})
        for label in ("meta.domain", "source"):
            config = CONFIG.model_copy(update={"label": label})
            metrics = train_domains(context(config, tmp_path / label, documents=shards))
            assert metrics["documents_by_label"] == {"law": 30, "music": 30, "ships": 30}

    def test_what_cannot_be_used_is_counted(self, tmp_path: Path) -> None:
        made = rows(300)
        made[0]["text"], made[1]["domain"], made[2]["domain"] = " ", None, "rare"
        config = CONFIG.model_copy(update={"per_label": 40})
        files = write_parquet(tmp_path / "in", made)
        metrics = train_domains(context(config, tmp_path / "out", labels=files))
        assert metrics["skipped"] == {
            "above_per_label": 297 - 120, "no_label": 1, "no_text": 1, "rare_label": 1,
        }  # fmt: skip
        assert metrics["documents_by_label"] == {"law": 40, "music": 40, "ships": 40}

    def test_what_is_drawn_of_many_is_spread_over_all_parts(self, tmp_path: Path) -> None:
        config = CONFIG.model_copy(update={"per_label": 200, "epochs": 1})
        files = write_parquet(tmp_path / "in", rows(6000))
        parts = train_domains(context(config, tmp_path / "out", labels=files))["documents"]
        assert parts["test"] / 600 == pytest.approx(0.2, abs=0.06)
        assert parts["validate"] / 600 == pytest.approx(0.1, abs=0.05)

    @pytest.mark.parametrize(
        ("made", "told"),
        [
            ([{"id": "1", "text": "a", "topic": "x"}], "no column 'domain', only id, text, topic"),
            ([{"id": str(i), "text": "a", "domain": str(i)} for i in range(300)], "more than 256"),
            ([{"id": str(i), "text": "a", "domain": "x"} for i in range(30)], "1 labels with 5"),
        ],
    )
    def test_what_is_no_set_of_labels_is_refused(
        self, tmp_path: Path, made: list[dict[str, Any]], told: str
    ) -> None:
        path = write_jsonl(tmp_path / "in" / "l.jsonl", made)
        for inputs in (FolderFiles(path.parent), write_parquet(tmp_path / "parquet", made)):
            with pytest.raises(DataError, match=told):
                train_domains(context(CONFIG, tmp_path / "out", labels=inputs))

    def test_damaged_and_missing_files_are_clear_errors(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "in/l.jsonl").write_text("{torn")
        with pytest.raises(DataError, match="not readable as labelled rows"):
            train_domains(context(CONFIG, tmp_path / "out", labels=FolderFiles(tmp_path / "in")))
        with pytest.raises(ConfigError, match="no such file"):
            snapshot(CONFIG.model_copy(update={"labels": "/none"}), RuntimeConfig())

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), max_size=60))
    def test_the_draw_is_that_of_a_sort_by_hash(self, pairs: list[tuple[str, int]]) -> None:
        import tempfile

        made = [{"id": f"{i}", "text": f"t{i}", "domain": d} for d, i in dict.fromkeys(pairs)]
        config = CONFIG.model_copy(update={"per_label": 4, "least_rows": 1})
        with tempfile.TemporaryDirectory() as folder:
            path = write_jsonl(Path(folder) / "l.jsonl", made)
            drawn = {(r.label, r.id) for r in draw([("l.jsonl", path)], config).rows}
        wanted = set()
        for name in "abc":
            mine = [r["id"] for r in made if r["domain"] == name]
            mine.sort(key=lambda i: (draw_hash(i), i))
            wanted |= {(name, i) for i in mine[:4]}
        assert drawn == wanted


class TestAgreement:
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
    def test_figures_are_those_of_a_naive_count(self, pairs: list[tuple[int, int]]) -> None:
        names = ["a", "b", "c", "d"]
        p = np.full((len(pairs), 4), 0.1)
        for row, (_, guess) in enumerate(pairs):
            p[row, guess] = 0.7
        told = label_agreement(np.array([t for t, _ in pairs], np.int64), p, names)
        f1 = []
        for k, name in enumerate(names):
            right = sum(t == g == k for t, g in pairs)
            there, given = sum(t == k for t, _ in pairs), sum(g == k for _, g in pairs)
            assert told["labels"][name]["documents"] == there
            assert told["labels"][name]["recall"] == pytest.approx(right / max(1, there), abs=1e-4)
            if there + given:
                f1.append(2 * right / (there + given))
        assert told["macro_f1"] == pytest.approx(np.mean(f1) if f1 else 0, abs=1e-4)
        share = sum(t == g for t, g in pairs) / max(1, len(pairs))
        assert told["accuracy"] == pytest.approx(share, abs=1e-4)
        assert told["decided"]["0.7"]["share"] == (1.0 if pairs else 0.0)
        assert told["decided"]["0.9"] == {"share": 0.0, "accuracy": 0.0}


class TestStep:
    def documents(self, folder: Path) -> FolderFiles:
        made = [document(r["text"], i) for i, r in enumerate(rows(90, seed=3))]
        return write_shards(folder, {"a-00000.parquet": made[:50], "a-00001.parquet": made[50:]})

    def trained(self, tmp_path: Path) -> Path:
        out = tmp_path / "model"
        train_domains(context(CONFIG, out, labels=write_parquet(tmp_path / "labels", rows(300))))
        return out

    def domains(self, out: Path) -> list[str]:
        metas = [m for p in sorted(out.glob("*.parquet")) for m in pq.read_table(p)["meta"]]
        return [json.loads(m.as_py())["domain"] for m in metas]

    def test_a_classifier_by_path_and_one_of_the_run_label_alike(
        self, tmp_path: Path, serial: Serial
    ) -> None:
        model, documents = self.trained(tmp_path), self.documents(tmp_path / "in")
        mine = FolderFiles(model)
        score(context(QualityConfig(), tmp_path / "a", documents=documents, domains=mine))
        given = QualityConfig(domains=DomainsConfig(classifier=str(model), min_probability=0.5))
        metrics = score(context(given, tmp_path / "b", documents=documents))
        assert digests(tmp_path / "a") == digests(tmp_path / "b")
        assert set(metrics["domains"]["en"]) <= {"law", "music", "ships", GENERAL}
        assert set(self.domains(tmp_path / "a")) >= {"law", "music", "ships"}
        none = QualityConfig(domains=DomainsConfig(classifier=str(model), min_probability=1.0))
        score(context(none, tmp_path / "c", documents=documents))
        assert set(self.domains(tmp_path / "c")) == {GENERAL}

    def test_the_labels_are_known_before_a_run(self, tmp_path: Path) -> None:
        config = DomainsConfig(classifier=str(self.trained(tmp_path)))
        assert domain_names(config) == ("law", "music", "ships", GENERAL)

    def test_a_classifier_of_grades_labels_nothing(self, tmp_path: Path) -> None:
        sample = Sample.of(["a b", "c d"], [0, 1])
        train(sample, sample, ClassifierConfig(bucket_bits=10), 2, 0)[0].save(tmp_path)
        with pytest.raises(ConfigError, match=r"grades, not labels.*train-domains"):
            load_labeller(str(tmp_path))
