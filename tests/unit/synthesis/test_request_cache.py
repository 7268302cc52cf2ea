from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from pydantic import BaseModel

from openseek.config.teachers import TeacherConfig
from openseek.errors import StoreError
from openseek.synthesis.request_cache import (
    Answer,
    Entry,
    RequestCache,
    asked_of,
    cache_root,
    request_key,
)
from openseek.synthesis.teacher import Prompt, Reply

TEACHER = TeacherConfig(kind="openai", model="m", base_url="http://127.0.0.1:1/v1")
PROMPT = Prompt("qa/pairs", "en", {}, ({"role": "user", "content": "Why?"},), None)


class Shape(BaseModel):
    why: str


def put(cache: RequestCache, key: str, text: str, refused: str = "") -> None:
    cache.put([Entry.of(key, Answer(Reply(text, 1, 2, 3), refused), "qa/pairs", "m")])


def get(cache: RequestCache, key: str) -> Answer | None:
    return cache.get([key])[0]


class TestJournal:
    def test_the_first_answer_stays(self, tmp_path: Path) -> None:
        first, second = RequestCache(str(tmp_path)), RequestCache(str(tmp_path))
        put(first, "k", "one")
        put(second, "k", "two")
        assert get(first, "k") == get(second, "k") == Answer(Reply("one", 1, 2, 3))
        assert get(first, "other") is None

    def test_an_answer_beats_a_refusal_and_not_the_other_way_round(self, tmp_path: Path) -> None:
        cache = RequestCache(str(tmp_path))
        put(cache, "k", "", "refused")
        assert get(cache, "k") == Answer(Reply("", 1, 2, 3), "refused")
        put(cache, "k", "yes")
        put(cache, "k", "", "refused")
        assert get(cache, "k") == Answer(Reply("yes", 1, 2, 3))

    def test_a_file_that_is_no_cache_is_a_clear_error(self, tmp_path: Path) -> None:
        name = RequestCache(str(tmp_path / "good")).path.name
        (tmp_path / "bad/journal").mkdir(parents=True)
        (tmp_path / "bad/journal" / name).write_bytes(b"not a database" * 100)
        with pytest.raises(StoreError, match="remove the damaged file"):
            RequestCache(str(tmp_path / "bad"))

    def test_what_fails_keeps_nothing_and_blocks_nothing(self, tmp_path: Path) -> None:
        cache = RequestCache(str(tmp_path))
        entry = Entry.of("k", Answer(Reply("yes", 1, 2, 3)), "qa/pairs", "m")
        with pytest.raises(sqlite3.Error):
            cache.put([entry, Entry("bad", ("no", "text"), False)])  # type: ignore[arg-type]
        assert get(cache, "k") is None
        cache.put([entry])
        assert get(cache, "k") == Answer(Reply("yes", 1, 2, 3))

    def test_any_text_comes_back(self, tmp_path: Path) -> None:
        cache = RequestCache(str(tmp_path))
        put(cache, "k", "长江\ud800\x00\u2028\n}")
        cache.close()
        assert get(RequestCache(str(tmp_path)), "k") == Answer(
            Reply("长江\ud800\x00\u2028\n}", 1, 2, 3)
        )


class TestSegments:
    @pytest.mark.parametrize("scheme", ["", "file://"])
    def test_another_machine_reads_what_is_shared(self, tmp_path: Path, scheme: str) -> None:
        root = scheme + str(tmp_path / "store/requests")
        here = RequestCache(root)
        for i in range(5):
            put(here, f"k{i}", f"text {i}")
        assert here.share() == 5
        assert here.share() == 0
        put(here, "late", "not shared yet")
        here.path.rename(tmp_path / "other-machine.sqlite")
        there = RequestCache(root)
        found = there.get([f"k{i}" for i in range(5)])
        assert found == [Answer(Reply(f"text {i}", 1, 2, 3)) for i in range(5)]
        assert get(there, "late") is None
        assert there.read_segments() == 0

    def test_a_remote_store_keeps_segments_and_a_local_folder_the_journal(
        self, tmp_path: Path
    ) -> None:
        root = "memory://bucket/requests"
        cache = RequestCache(root, tmp_path / "a")
        put(cache, "k", "text")
        put(cache, "no", "", "bad_request")
        cache.close()
        assert cache.path.is_relative_to(tmp_path / "a")
        again = RequestCache(root, tmp_path / "b")
        assert get(again, "k") == Answer(Reply("text", 1, 2, 3))
        assert get(again, "no") == Answer(Reply("", 1, 2, 3), "bad_request")

    @pytest.mark.s3
    def test_machines_share_answers_through_s3(self, s3_env: str, tmp_path: Path) -> None:
        here = RequestCache(f"{s3_env}/requests", tmp_path / "here")
        put(here, "k", "长江")
        put(here, "no", "", "bad_request")
        assert here.share() == 2
        there = RequestCache(f"{s3_env}/requests", tmp_path / "there")
        assert get(there, "k") == Answer(Reply("长江", 1, 2, 3))
        put(there, "later", "text")
        there.close()
        assert here.read_segments() == 1
        assert get(here, "later") == Answer(Reply("text", 1, 2, 3))

    def test_close_shares_what_is_left(self, tmp_path: Path) -> None:
        cache = RequestCache(str(tmp_path))
        put(cache, "k", "text")
        cache.close()
        [segment] = (tmp_path / "segments").iterdir()
        assert segment.name.endswith(".jsonl.gz")

    def test_a_damaged_segment_is_left_out(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = RequestCache(str(tmp_path))
        put(cache, "k", "text")
        cache.close()
        cache.path.unlink()
        [segment] = (tmp_path / "segments").iterdir()
        segment.write_bytes(segment.read_bytes()[:-10])
        assert get(RequestCache(str(tmp_path)), "k") is None
        assert "damaged" in caplog.text

    def test_a_kill_between_a_segment_and_its_record_doubles_nothing(self, tmp_path: Path) -> None:
        cache = RequestCache(str(tmp_path))
        put(cache, "k", "text")
        cache.share()
        cache._db.execute("UPDATE answers SET segment = 0")  # as if it died before the record
        cache._db.execute("DELETE FROM segments")
        cache.close()
        assert len(list((tmp_path / "segments").iterdir())) == 1
        assert get(RequestCache(str(tmp_path)), "k") == Answer(Reply("text", 1, 2, 3))


class TestKey:
    def test_all_that_an_answer_depends_on_is_in_it(self) -> None:
        from dataclasses import replace

        def key(prompt: Prompt = PROMPT, **teacher: object) -> str:
            config = TEACHER.model_copy(update=teacher)
            return request_key(asked_of(config), prompt, prompt.messages)

        other = ({"role": "user", "content": "How?"},)
        changed = [
            key(), key(model="n"), key(temperature=0.1), key(top_p=0.5), key(max_tokens=99),
            key(extra={"min_p": 0.1}),
            key(replace(PROMPT, schema=Shape, items=(1, 2)), structured="json_schema"),
            key(kind="transformers"), key(replace(PROMPT, version=2)),
            key(replace(PROMPT, kind="qa/other")), key(replace(PROMPT, sample=1)),
            key(replace(PROMPT, stop=("\n",))), key(replace(PROMPT, messages=other)),
            key(replace(PROMPT, schema=Shape), structured="json_schema"),
        ]  # fmt: skip
        assert len(set(changed)) == len(changed)
        bounded = replace(PROMPT, items=(1, 2))
        assert key(bounded) == key()  # nothing of them is sent
        assert key(replace(bounded, schema=Shape), structured="json_object") == key(
            replace(PROMPT, schema=Shape), structured="json_object"
        )

    def test_where_it_is_answered_is_not(self) -> None:
        elsewhere = TEACHER.model_copy(
            update={"base_url": "http://other/v1", "timeout_s": 1.0, "concurrency": 2}
        )
        keys = {request_key(asked_of(t), PROMPT, PROMPT.messages) for t in (TEACHER, elsewhere)}
        assert len(keys) == 1


def test_the_cache_lies_in_the_store_or_beside_a_folder(tmp_path: Path) -> None:
    assert cache_root("", "s3://b/store", None) == "s3://b/store/requests"
    assert cache_root("", "x", tmp_path / "out") == str(tmp_path / "_requests")
    assert cache_root("s3://c", "x", tmp_path) == "s3://c"
    assert cache_root("none", "x", tmp_path) == ""
    assert cache_root(str(tmp_path), "x", None) == str(tmp_path)
