from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import pickle
from typing import Any

import pytest
from pydantic import ValidationError
from synthesis_small import ENGLISH, KEY, KEY_ENV, Endpoint, source

from openseek.config.synthesis import RecipeConfig, SynthesisConfig, TeacherConfig
from openseek.errors import ConfigError, PermanentError, TransientError
from openseek.synthesis import RowFailure, build_teacher, generate
from openseek.synthesis.openai_teacher import _retry_after

QA = RecipeConfig(name="simple_qa", chars_per_item=300)
CHAIN = RecipeConfig(name="long_cot_backward")


def run(endpoint: Endpoint, recipe: RecipeConfig = QA, n: int = 1, **teacher: Any) -> list[Any]:
    config = SynthesisConfig(teacher=endpoint.teacher(**teacher))
    return generate([source(ENGLISH, id=f"d{i}") for i in range(n)], recipe, config)


class TestAnswers:
    def test_the_recipes_run_against_a_server(self, endpoint: Endpoint) -> None:
        [answered] = run(endpoint)
        assert [reason for _, reason in answered.rows] == ["", "query_leans_on_text"]
        assert answered.usage == {
            "requests": 1, "repairs": 0, "prompt_tokens": 100, "completion_tokens": 20,
        }  # fmt: skip
        [chained] = run(endpoint, CHAIN)
        [(row, reason)] = chained.rows
        assert (reason, len(row.steps), row.extra["segments_asked"]) == ("", 3, 3)
        assert chained.usage["requests"] == 1 + 3 + 1 + 1

    def test_the_request_carries_model_sampling_and_key(self, endpoint: Endpoint) -> None:
        run(endpoint, json_mode=True, temperature=0.1, max_tokens=99)
        [body] = endpoint.server.seen
        assert endpoint.server.keys == [f"Bearer {KEY}"]
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0.1, 99)
        assert body["response_format"] == {"type": "json_object"}

    def test_no_more_requests_in_flight_than_allowed(self, endpoint: Endpoint) -> None:
        assert len(run(endpoint, n=20, concurrency=2)) == 20
        assert endpoint.server.served["ok"] == 20

    @pytest.mark.parametrize("fault", ["429", "500", "503", "truncated", "reset"])
    def test_passing_faults_are_tried_again(self, endpoint: Endpoint, fault: str) -> None:
        endpoint.server.faults = [fault, fault]
        [outcome] = run(endpoint)
        assert outcome.failure == ""
        assert endpoint.server.served == {fault: 2, "ok": 1}

    @pytest.mark.parametrize("fault", ["429", "500", "truncated", "reset"])
    def test_lasting_faults_end_in_a_transient_error(self, endpoint: Endpoint, fault: str) -> None:
        endpoint.server.always = fault
        with pytest.raises(TransientError, match="3 tries") as caught:
            run(endpoint)
        assert endpoint.url in str(caught.value)
        assert endpoint.server.served[fault] == 3

    @pytest.mark.parametrize("fault", ["401", "403", "404"])
    def test_a_wrong_key_or_address_is_never_tried_again(
        self, endpoint: Endpoint, fault: str
    ) -> None:
        endpoint.server.always = fault
        with pytest.raises(ConfigError, match=f"HTTP {fault}"):
            run(endpoint)
        assert endpoint.server.served[fault] == 1

    def test_a_server_of_another_protocol_is_a_permanent_error(self, endpoint: Endpoint) -> None:
        endpoint.server.always = "shape"
        with pytest.raises(PermanentError, match="OpenAI-compatible"):
            run(endpoint)

    @pytest.mark.parametrize(("fault", "reason"), [("refusal", "refused"), ("400", "bad_request")])
    def test_what_one_document_causes_stays_with_it(
        self, endpoint: Endpoint, fault: str, reason: str
    ) -> None:
        endpoint.server.faults = [fault]
        outcomes = run(endpoint, n=4, concurrency=1)
        assert sorted(o.failure for o in outcomes) == ["", "", "", reason]

    def test_one_repair_turn_then_a_typed_failure(self, endpoint: Endpoint) -> None:
        endpoint.server.faults = ["chatty"]
        [outcome] = run(endpoint)
        assert outcome.failure == ""
        assert outcome.usage["repairs"] == 1
        repair = endpoint.server.seen[1]["messages"]
        assert [m["role"] for m in repair] == ["system", "user", "assistant", "user"]
        endpoint.server.always = "chatty"
        [outcome] = run(endpoint)
        assert (outcome.failure, outcome.usage["requests"]) == ("schema", 2)

    def test_nobody_listening_is_a_transient_error(self, endpoint: Endpoint) -> None:
        config = endpoint.teacher(max_tries=2)
        endpoint.stop()
        with pytest.raises(TransientError, match="ConnectError"):
            generate([source(ENGLISH)], QA, SynthesisConfig(teacher=config))


class TestRetryAfter:
    @pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("0.5", 0.5), ("", 0), ("soon", 0)])
    def test_seconds(self, value: str, seconds: float) -> None:
        assert _retry_after(value) == seconds

    def test_dates(self) -> None:
        import email.utils
        import time

        assert 50 < _retry_after(email.utils.formatdate(time.time() + 60, usegmt=True)) <= 60
        assert _retry_after(email.utils.formatdate(time.time() - 60, usegmt=True)) == 0

    def test_the_wait_is_what_the_server_asks_for(
        self, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []

        async def note(seconds: float) -> None:
            waits.append(seconds)

        import openseek.synthesis.openai_teacher as module

        monkeypatch.setattr(module, "_retry_after", lambda value: 30.0 if value else 0.0)
        monkeypatch.setattr(module.asyncio, "sleep", note)
        endpoint.server.faults = ["429", "500"]
        run(endpoint, max_wait_s=20)
        assert [w for w in waits if w] == [20.0]  # asked for 30, never more than max_wait_s


class TestSecrets:
    def test_the_key_is_nowhere(self, endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        endpoint.server.faults = ["429", "reset", "chatty"]
        outcomes = run(endpoint, n=3, max_tries=5)
        config = SynthesisConfig(teacher=endpoint.teacher())
        teacher = build_teacher(config.teacher)
        shown = [
            repr(teacher), repr(config), config.model_dump_json(), str(pickle.dumps(config)),
            json.dumps([dataclasses.asdict(o) for o in outcomes]), caplog.text,
        ]  # fmt: skip
        asyncio.run(teacher.close())
        assert not any(KEY in text for text in shown)

    def test_no_prompt_is_logged_by_default(
        self, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        endpoint.server.faults = ["500", "chatty"]
        run(endpoint)
        assert "HTTP 500" in caplog.text
        assert "Baltic" not in caplog.text

    def test_errors_show_no_key(self, endpoint: Endpoint) -> None:
        endpoint.server.always = "401"
        with pytest.raises(ConfigError) as caught:
            run(endpoint)
        assert KEY not in repr(caught.value)
        assert KEY_ENV in str(caught.value)

    def test_a_missing_variable_is_named(
        self, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(KEY_ENV)
        with pytest.raises(ConfigError, match=KEY_ENV):
            build_teacher(endpoint.teacher())

    @pytest.mark.parametrize(
        "url", ["http://user:pw@host/v1", "https://host/v1?api_key=x", "host:8000/v1"]
    )
    def test_credentials_in_the_address_are_refused(self, url: str) -> None:
        with pytest.raises(ValidationError, match="base_url"):
            TeacherConfig(kind="openai", model="m", base_url=url)

    def test_an_endpoint_needs_model_and_address(self) -> None:
        with pytest.raises(ValidationError, match="set both"):
            TeacherConfig(kind="openai", model="m")


def test_row_failures_cross_process_borders() -> None:
    again = pickle.loads(pickle.dumps(RowFailure("schema", "no JSON")))
    assert (again.reason, str(again)) == ("schema", "no JSON")
