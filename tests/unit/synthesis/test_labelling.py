from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from synthesis_small import CHINESE, ENGLISH, KEY, Endpoint, source

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.labelling import ClassifierConfig, DomainClassifierConfig, LabellingConfig
from openseek.config.quality import DomainsConfig
from openseek.config.runtime import RuntimeConfig
from openseek.corpus.shards import make_document, write_documents
from openseek.errors import DataError, TransientError
from openseek.quality.classifier_step import train_classifier
from openseek.quality.domains import GENERAL, domain_names, load_labeller
from openseek.quality.domains_step import train_domains
from openseek.quality.heuristic import pack
from openseek.quality.linear import LinearModel
from openseek.synthesis import labelling
from openseek.synthesis.grading import Grade, grade_prompt
from openseek.synthesis.labelling import draw, label
from openseek.synthesis.teacher import parse
from openseek.synthesis.teachers.wire import strict_schema
from openseek.synthesis.topics import GLOSSES, domain_prompt, topic_schema

LIST = "\n".join(f"item {n}" for n in range(40))


@pytest.fixture(autouse=True)
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run shards in this process."""

    def run(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
        return [fn(shard, *args) for shard in shards]

    monkeypatch.setattr(labelling, "map_shards", run)


def documents(folder: Path, n: int = 24, shards: int = 2) -> FolderFiles:
    rows = []
    for i in range(n):
        text, lang = [(ENGLISH, "en"), (CHINESE * 2, "zh-Hans"), (LIST, "en")][i % 3]
        rows.append(
            make_document(
                f"{text}\n{i} {'extra words ' * (i % 7)}", source="lakes", category="foundation",
                lang=lang, license="CC-BY-4.0", origin=str(i),
            )
        )  # fmt: skip
    folder.mkdir(exist_ok=True)
    for s in range(shards):
        write_documents(folder / f"lakes-{s:05d}.parquet", rows[s::shards])
    return FolderFiles(folder)


def context(config: Any, out: Path, **inputs: FolderFiles) -> StepContext[Any]:
    return StepContext(config, inputs, FolderOutput(out), RuntimeConfig(workers=1), seed=3)


def rows(out: Path) -> list[dict[str, Any]]:
    return [r for f in sorted(out.glob("*.parquet")) for r in pq.read_table(f).to_pylist()]


class Grader:
    """Makes an `Endpoint` grade everything 4.

    Attributes:
        never: Requests with this text get no usable answer.
        late: Requests with this text get one in the repair turn only.
        dies_after: Answers after which the endpoint only fails.
    """

    def __init__(self, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        import synthesis_small

        self.never = self.late = ""
        self.dies_after = self.answered = 0
        self.endpoint = endpoint

        def reply(body: dict[str, Any]) -> str:
            self.answered += 1
            if self.answered == self.dies_after:
                endpoint.server.always = "500"
            asked = body["messages"][1]["content"]
            if self.never and self.never in asked:
                return "I would say four."
            late = self.late and self.late in asked and len(body["messages"]) == 2
            if '{"reason": "' in asked and '"domain": "' in asked:
                about = (
                    "Lakes"
                    if late
                    else "lakes"
                    if "Baltic" in asked or "长江" in asked
                    else "general"
                )
                return json.dumps({"reason": "words", "domain": about})
            if late:
                return '{"reason": "superb", "score": 9}'
            return '{"reason": "clear", "score": 4}'

        monkeypatch.setattr(synthesis_small, "reply_to", reply)

    def config(self, tmp_path: Path, **given: Any) -> LabellingConfig:
        teacher = self.endpoint.teacher(concurrency=1)
        fields = {"documents": 8, "shard_documents": 4, "cache": str(tmp_path / "cache")} | given
        return LabellingConfig(teacher=teacher, **fields)


@pytest.fixture
def grader(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Grader:
    return Grader(endpoint, monkeypatch)


class TestPrompts:
    @pytest.mark.parametrize("style", ["additive", "direct"])
    def test_both_rubrics_are_worded_in_both_languages(self, style: Any) -> None:
        english = grade_prompt(source(ENGLISH), style).messages[1]["content"]
        chinese = grade_prompt(source(CHINESE, "zh"), style).messages[1]["content"]
        assert ENGLISH in english
        assert "learner" in english
        assert CHINESE in chinese
        assert "学习者" in chinese
        assert '{"reason": "' in english
        assert '{"reason": "' in chinese

    def test_braces_in_a_document_stay_as_they_are(self) -> None:
        assert "{x} {0}" in grade_prompt(source("{x} {0}"), "direct").messages[1]["content"]

    @pytest.mark.parametrize(
        "answer", ['{"score": 3.5}', '{"score": "3"}', '{"score": true}', '{"score": 6}',
                   '{"score": -1}', '{"reason": "good"}', "Educational score: 4", ""],
    )  # fmt: skip
    def test_anything_but_a_whole_grade_is_refused(self, answer: str) -> None:
        with pytest.raises(ValueError, match=r"score|JSON"):
            parse(answer, Grade)

    def test_a_grade_is_found_in_a_fence(self) -> None:
        assert parse('Sure:\n```json\n{"reason": "r", "score": 5}\n```', Grade).score == 5


class TestDomainPrompt:
    def test_the_list_is_worded_in_both_languages(self) -> None:
        english = domain_prompt(source(ENGLISH), {}).messages[1]["content"]
        chinese = domain_prompt(source(CHINESE, "zh"), {}).messages[1]["content"]
        assert ENGLISH in english
        assert CHINESE in chinese
        assert "- law: statutes" in english
        assert "- law: 法规" in chinese
        assert set(GLOSSES) == set(domain_names(DomainsConfig())) - {GENERAL}
        for asked in (english, chinese):
            names = [x[2:].split(":")[0] for x in asked.splitlines() if x.startswith("- ")]
            assert names == [*sorted(GLOSSES), GENERAL]

    def test_a_list_of_ones_own(self) -> None:
        given = {"lakes": "inland waters", "rivers": "", "law": ""}
        asked = domain_prompt(source("{x} {0}"), given).messages[1]["content"]
        listed = [x for x in asked.splitlines() if x.startswith("- ")]
        assert listed[0] == "- lakes: inland waters"
        assert listed[1].startswith("- law: statutes")
        assert listed[2] == "- rivers"
        assert listed[3].startswith("- general: ")
        assert "{x} {0}" in asked

    @pytest.mark.parametrize(
        "answer", ['{"domain": "Law"}', '{"domain": "laws"}', '{"domain": " law"}',
                   '{"domain": ["law"]}', '{"domain": null}', '{"reason": "law"}', "law", ""],
    )  # fmt: skip
    def test_anything_but_a_listed_name_is_refused(self, answer: str) -> None:
        shape = topic_schema(("law", "general"))
        with pytest.raises(ValueError, match=r"domain|JSON"):
            parse(answer, shape)
        assert parse('```{"domain": "law"}```', shape).domain == "law"
        sent = strict_schema(shape.model_json_schema())
        assert sent["properties"]["domain"] == {"type": "string", "enum": ["law", "general"]}

    def test_impossible_lists_say_how_to_mend_them(self) -> None:
        with pytest.raises(ValidationError, match="add `domain` to prompts"):
            LabellingConfig(domains={"law": ""})
        for name, gloss in (("a\nb", ""), ("", ""), ("x" * 61, ""), ("law", "two\nlines")):
            with pytest.raises(ValidationError, match="no name for a prompt"):
                LabellingConfig(prompts=("domain",), domains={name: gloss})


class TestOffline:
    def test_keywords_name_domains_and_statistics_grade(self, tmp_path: Path) -> None:
        config = LabellingConfig(documents=12, shard_documents=5, prompts=("domain", "direct"))
        files = documents(tmp_path / "in")
        metrics = label(context(config, tmp_path / "out", documents=files))
        found = rows(tmp_path / "out")
        assert metrics["labels"] == len(found) == 24
        assert {lang: sum(g) for lang, g in metrics["grades"].items()} == {"en": 6, "zh": 6}
        assert {lang: sum(g.values()) for lang, g in metrics["domains"].items()} == {
            "en": 6, "zh": 6
        }  # fmt: skip
        assert "rubrics" not in metrics
        for row in found:
            assert (row["grade"] is None) == row["prompt"].startswith("domain-")
            assert bool(row["domain"]) == row["prompt"].startswith("domain-")
        domains = {r["text"][:4]: r["domain"] for r in found if r["domain"]}
        assert domains["item"] == "general"
        assert {r["prompt"] for r in found} == {
            "domain-en-v1", "direct-en-v1", "domain-zh-v1", "direct-zh-v1"
        }  # fmt: skip

    def test_every_label_says_that_statistics_made_it(self, tmp_path: Path) -> None:
        config = LabellingConfig(documents=12, shard_documents=5, prompts=("additive", "direct"))
        files = documents(tmp_path / "in")
        metrics = label(context(config, tmp_path / "out", documents=files))
        found = rows(tmp_path / "out")
        assert {r["teacher"] for r in found} == {"heuristic"}
        assert {r["prompt"] for r in found} == {
            "additive-en-v1", "direct-en-v1", "additive-zh-v1", "direct-zh-v1"
        }  # fmt: skip
        assert metrics["documents"] == 12
        assert metrics["labels"] == len(found) == 24
        assert sum(map(sum, metrics["rubrics"])) == 12
        assert {lang: sum(g) for lang, g in metrics["grades"].items()} == {"en": 12, "zh": 12}
        prose = [r["grade"] for r in found if r["text"].startswith("The Baltic")]
        lists = [r["grade"] for r in found if r["text"].startswith("item 0")]
        assert min(prose) > max(lists)
        json.dumps(metrics, allow_nan=False)

    def test_shards_do_not_decide_who_is_drawn(self, tmp_path: Path) -> None:
        config = LabellingConfig(documents=6)
        ids = []
        for shards in (1, 3):
            out = tmp_path / f"out{shards}"
            files = documents(tmp_path / f"in{shards}", shards=shards)
            label(context(config, out, documents=files))
            ids.append({r["id"] for r in rows(out)})
        assert ids[0] == ids[1]
        assert len(ids[0]) == 6

    def test_a_language_with_few_documents_gives_what_it_has(self, tmp_path: Path) -> None:
        work = draw(documents(tmp_path / "in", n=6), LabellingConfig(documents=100), 1)
        assert sum(len(w.rows) for w in work) == 6

    def test_impossible_sections_say_how_to_mend_them(self) -> None:
        with pytest.raises(ValidationError, match="kind=openai"):
            LabellingConfig(teacher={"kind": "extractive"})
        with pytest.raises(ValidationError, match="name each once"):
            LabellingConfig(prompts=("direct", "direct"))
        with pytest.raises(ValidationError, match="rise within 1 to 8"):
            ClassifierConfig(char_ngrams=(3, 2))


class TestEndpoint:
    def test_grades_and_costs_are_recorded(self, tmp_path: Path, grader: Grader) -> None:
        files = documents(tmp_path / "in")
        metrics = label(context(grader.config(tmp_path), tmp_path / "out", documents=files))
        found = rows(tmp_path / "out")
        assert {(r["teacher"], r["grade"], r["reason"]) for r in found} == {("tiny", 4, "clear")}
        assert (metrics["requests"], metrics["prompt_tokens"]) == (8, 800)

    def test_unusable_answers_get_one_repair_and_are_counted(
        self, tmp_path: Path, grader: Grader
    ) -> None:
        grader.never, grader.late = "学习者", "learner"
        files = documents(tmp_path / "in")
        config = grader.config(tmp_path, documents=4)
        metrics = label(context(config, tmp_path / "out", documents=files))
        assert metrics["failed"] == {"schema": 2}
        assert (metrics["labels"], metrics["unusable"], metrics["repairs"]) == (2, 2, 4)
        found = {(r["lang"], r["grade"], r["failure"]) for r in rows(tmp_path / "out")}
        assert found == {("en", 4, ""), ("zh-Hans", None, "schema")}

    def test_a_killed_run_asks_nothing_twice_that_was_answered(
        self, tmp_path: Path, grader: Grader
    ) -> None:
        """The endpoint goes away in the middle of a file; whole files and single answers stay."""
        files = documents(tmp_path / "in")
        config = grader.config(tmp_path)
        server = grader.endpoint.server
        grader.dies_after = 6
        with pytest.raises(TransientError):
            label(context(config, tmp_path / "out", documents=files))
        assert len(rows(tmp_path / "out")) == 4
        server.always = ""
        label(context(config, tmp_path / "out", documents=files))
        assert server.served["ok"] == 8
        again = label(context(config, tmp_path / "again", documents=files))
        assert server.served["ok"] == 8
        assert again["requests"] == 8  # what the labels cost, whoever asked first
        digests = [
            hashlib.sha256((tmp_path / out / "labels-00001.parquet").read_bytes()).digest()
            for out in ("out", "again")
        ]
        assert digests[0] == digests[1]

    def test_the_cache_holds_no_key(self, tmp_path: Path, grader: Grader) -> None:
        files = documents(tmp_path / "in")
        label(context(grader.config(tmp_path), tmp_path / "out", documents=files))
        for path in (tmp_path / "cache").rglob("*.*"):
            assert KEY.encode() not in path.read_bytes()
        [segment] = (tmp_path / "cache/segments").iterdir()
        text = gzip.decompress(segment.read_bytes()).decode()
        assert len(text.splitlines()) == 8
        assert KEY not in text
        assert "Baltic" not in text  # answers, no prompts

    def test_another_model_is_asked_anew(self, tmp_path: Path, grader: Grader) -> None:
        files = documents(tmp_path / "in")
        config = grader.config(tmp_path)
        label(context(config, tmp_path / "a", documents=files))
        other = grader.endpoint.teacher(model="large", concurrency=1)
        label(
            context(config.model_copy(update={"teacher": other}), tmp_path / "b", documents=files)
        )
        assert grader.endpoint.server.served["ok"] == 16


class TestDomains:
    ASKED: ClassVar = {"prompts": ("domain", "direct"), "domains": {"lakes": "waters"}}

    def test_a_name_off_the_list_gets_one_repair(self, tmp_path: Path, grader: Grader) -> None:
        grader.never, grader.late = "主要讲什么", "mainly about"
        config = grader.config(tmp_path, documents=4, **self.ASKED)
        files = documents(tmp_path / "in")
        metrics = label(context(config, tmp_path / "out", documents=files))
        assert metrics["failed"] == {"schema": 2}
        assert (metrics["labels"], metrics["repairs"]) == (6, 4)
        found = [r for r in rows(tmp_path / "out") if r["prompt"].startswith("domain-")]
        assert {(r["lang"], bool(r["domain"]), r["failure"]) for r in found} == {
            ("en", True, ""), ("zh-Hans", False, "schema")
        }  # fmt: skip
        assert metrics["grades"] == {"en": [0, 0, 0, 0, 2, 0], "zh": [0, 0, 0, 0, 2, 0]}

    @pytest.mark.slow
    def test_both_classifiers_learn_from_one_folder_of_labels(
        self, tmp_path: Path, grader: Grader
    ) -> None:
        config = grader.config(tmp_path, documents=400, shard_documents=100, **self.ASKED)
        files = documents(tmp_path / "in", n=300)
        labelled = label(context(config, tmp_path / "labels", documents=files))
        assert labelled["domains"] == {"en": {"general": 100, "lakes": 100}, "zh": {"lakes": 100}}
        labels = FolderFiles(tmp_path / "labels")
        learner = DomainClassifierConfig(bucket_bits=12, epochs=4)
        metrics = train_domains(context(learner, tmp_path / "topics", labels=labels))
        assert metrics["labels"] == ["general", "lakes"]
        assert metrics["teacher"] == ["tiny"]
        assert metrics["prompts"] == ["domain-en-v1", "domain-zh-v1"]
        assert metrics["skipped"] == {"no_label": 300}
        told = metrics["agreement_by_lang"]
        assert set(told) == {"en", "zh"}
        assert sum(t["documents"] for t in told.values()) == metrics["agreement"]["documents"]
        assert metrics["agreement"]["accuracy"] > 0.95
        json.dumps(metrics, allow_nan=False)
        found = load_labeller(str(tmp_path / "topics"))
        assert found.label_buffer(*pack([ENGLISH, LIST]), 0.5, GENERAL) == ["lakes", "general"]
        assert domain_names(DomainsConfig(classifier=str(tmp_path / "topics"))) == (
            "lakes", "general"
        )  # fmt: skip
        grades = ClassifierConfig(bucket_bits=12, epochs=2)
        told = train_classifier(context(grades, tmp_path / "model", labels=labels))
        assert told["labels"] == 300
        assert told["prompts"] == ["direct-en-v1", "direct-zh-v1"]


class TestClassifierStep:
    def labels(self, tmp_path: Path) -> FolderFiles:
        config = LabellingConfig(documents=400, shard_documents=100, prompts=("additive", "direct"))
        files = documents(tmp_path / "in", n=360)
        label(context(config, tmp_path / "labels", documents=files))
        return FolderFiles(tmp_path / "labels")

    def test_a_model_is_written_and_its_agreement_told(self, tmp_path: Path) -> None:
        config = ClassifierConfig(bucket_bits=14)
        labels = self.labels(tmp_path)
        metrics = train_classifier(context(config, tmp_path / "model", labels=labels))
        assert metrics["teacher"] == ["heuristic"]
        assert sum(metrics["documents"].values()) == sum(metrics["grades"])
        told = metrics["agreement"]
        assert set(told) == {"all", "en", "zh"}
        assert told["all"]["documents"] == metrics["documents"]["test"]
        assert told["all"]["accuracy"] > told["all"]["accuracy_constant"]
        assert told["all"]["spearman"] > 0.8
        assert told["all"]["f1"] > 0.9
        json.dumps(metrics, allow_nan=False)
        model = LinearModel.load(
            tmp_path / "model/classifier.json", tmp_path / "model/classifier.safetensors"
        )
        good, bad = model.score([ENGLISH, LIST])
        assert good > bad
        assert model.about["agreement"]["spearman"] == told["all"]["spearman"]

    def test_the_same_labels_give_the_same_model(self, tmp_path: Path) -> None:
        labels, config = self.labels(tmp_path), ClassifierConfig(bucket_bits=12, epochs=2)
        for out in "ab":
            train_classifier(context(config, tmp_path / out, labels=labels))
        for name in ("classifier.json", "classifier.safetensors"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_foreign_files_are_clear_errors(self, tmp_path: Path) -> None:
        config = ClassifierConfig(bucket_bits=12)
        with pytest.raises(DataError, match="grade"):
            train_classifier(context(config, tmp_path / "a", labels=documents(tmp_path / "in")))
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="no file of labels"):
            train_classifier(
                context(config, tmp_path / "b", labels=FolderFiles(tmp_path / "empty"))
            )

    def test_too_few_labels_are_a_clear_error(self, tmp_path: Path) -> None:
        files = documents(tmp_path / "in", n=3)
        label(context(LabellingConfig(), tmp_path / "labels", documents=files))
        config = ClassifierConfig(bucket_bits=12, test=0.001)
        with pytest.raises(DataError, match="Label more"):
            train_classifier(
                context(config, tmp_path / "a", labels=FolderFiles(tmp_path / "labels"))
            )
