from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from synthesis_small import ENGLISH, KEY, KEY_ENV, Endpoint, source

from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.config.teachers import TeacherConfig
from openseek.errors import ConfigError, OpenSeekError, PermanentError, TransientError
from openseek.synthesis import RowFailure, build_teacher, generate
from openseek.synthesis.recipes import simple_qa
from openseek.synthesis.teacher import Asker

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
        run(endpoint, structured="json_object", temperature=0.1, max_tokens=99)
        [body] = endpoint.server.seen
        assert endpoint.server.keys == [f"Bearer {KEY}"]
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0.1, 99)
        assert body["response_format"] == {"type": "json_object"}

    def test_no_more_requests_in_flight_than_allowed(self, endpoint: Endpoint) -> None:
        assert len(run(endpoint, n=20, concurrency=2)) == 20
        assert endpoint.server.served["ok"] == 20

    @pytest.mark.parametrize("fault", ["429", "429 0", "500", "503", "truncated", "reset", "cut"])
    def test_passing_faults_are_tried_again(self, endpoint: Endpoint, fault: str) -> None:
        endpoint.server.faults = [fault, fault]
        [outcome] = run(endpoint)
        assert outcome.failure == ""
        assert endpoint.server.served == {fault: 2, "ok": 1}

    @pytest.mark.parametrize("fault", ["429", "500", "truncated", "reset", "cut"])
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
        with pytest.raises(TransientError, match="ClientConnectorError"):
            generate([source(ENGLISH)], QA, SynthesisConfig(teacher=config))


class TestSeveral:
    @pytest.fixture
    def second(self, endpoint: Endpoint) -> Iterator[Endpoint]:
        running = Endpoint()
        yield running
        running.stop()

    def pair(self, a: Endpoint, b: Endpoint, **given: Any) -> TeacherConfig:
        both = ({"base_url": a.url, "weight": 3.0}, {"base_url": b.url})
        return a.teacher(base_url="", api_key_env="", endpoints=both, **given)

    def go(self, config: TeacherConfig, n: int) -> list[Any]:
        documents = [source(ENGLISH, id=f"d{i}") for i in range(n)]
        return generate(documents, QA, SynthesisConfig(teacher=config))

    def test_requests_are_shared_by_weight(self, endpoint: Endpoint, second: Endpoint) -> None:
        self.go(self.pair(endpoint, second, concurrency=200), 80)
        a, b = endpoint.server.served["ok"], second.server.served["ok"]
        assert a + b == 80
        assert a > b > 0

    @pytest.mark.parametrize("fault", ["500", "reset", "429", "401", "404"])
    def test_one_that_fails_is_made_up_for_by_the_other(
        self, endpoint: Endpoint, second: Endpoint, fault: str
    ) -> None:
        endpoint.server.always = fault
        config = self.pair(endpoint, second, backoff_s=60.0, concurrency=4)
        outcomes = self.go(config, 30)
        assert [o.failure for o in outcomes] == [""] * 30
        assert second.server.served["ok"] == 30
        assert endpoint.server.served[fault] <= 4  # those that were sent together; then it rests

    def test_all_of_them_down_ends_in_an_error(self, endpoint: Endpoint, second: Endpoint) -> None:
        endpoint.server.always = second.server.always = "503"
        with pytest.raises(TransientError, match="HTTP 503"):
            self.go(self.pair(endpoint, second), 40)
        sent = endpoint.server.served["503"] + second.server.served["503"]
        assert sent < 40  # not every document tries its luck

    def test_all_keys_refused_is_a_config_error(self, endpoint: Endpoint, second: Endpoint) -> None:
        endpoint.server.always = second.server.always = "401"
        with pytest.raises(ConfigError, match="HTTP 401"):
            self.go(self.pair(endpoint, second), 40)


class TestAsked:
    def test_a_schema_goes_to_servers_that_hold_answers_to_it(self, endpoint: Endpoint) -> None:
        run(endpoint, structured="json_schema")
        [body] = endpoint.server.seen
        held = body["response_format"]["json_schema"]
        assert (held["name"], held["strict"]) == ("simple_qa-pairs", True)
        assert held["schema"]["required"] == ["pairs"]

    def test_further_fields_go_with_every_request(self, endpoint: Endpoint) -> None:
        run(endpoint, extra={"min_p": 0.1, "chat_template_kwargs": {"enable_thinking": False}})
        [body] = endpoint.server.seen
        assert body["min_p"] == 0.1
        assert body["chat_template_kwargs"] == {"enable_thinking": False}

    def test_free_text_ends_before_a_stop_text(self, endpoint: Endpoint) -> None:
        async def say() -> tuple[str, int]:
            teacher = build_teacher(endpoint.teacher(structured="json_schema"))
            asker = Asker(teacher)
            prompt = simple_qa.prompt(source(ENGLISH), 2)
            text = await asker.say(prompt, stop=("```", "<|end|>"))
            await teacher.close()
            return text, asker.ledger.requests

        assert asyncio.run(say()) == ("Sure!\n", 1)
        [body] = endpoint.server.seen
        assert body["stop"] == ["```", "<|end|>"]
        assert "response_format" not in body

    def test_a_request_that_is_late_is_sent_again(self, endpoint: Endpoint) -> None:
        endpoint.server.faults = ["late"]
        [outcome] = run(endpoint, timeout_s=0.3)
        assert outcome.failure == ""
        assert endpoint.server.served == {"late": 1, "ok": 1}


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

    @pytest.mark.parametrize(
        "fault",
        ["429", "429 0", "500", "reset", "truncated", "cut", "late", "shape", "chatty", "refusal",
         "400", "401", "404"],
    )  # fmt: skip
    @pytest.mark.parametrize("lasting", [False, True])
    def test_no_fault_shows_key_prompt_document_or_answer(
        self, endpoint: Endpoint, caplog: pytest.LogCaptureFixture, fault: str, lasting: bool
    ) -> None:
        caplog.set_level(logging.INFO)
        if lasting:
            endpoint.server.always = fault
        else:
            endpoint.server.faults = [fault]
        told = ""
        try:
            outcomes = run(endpoint, timeout_s=0.2 if fault == "late" else 10, max_tries=2)
            told = "".join(o.failure for o in outcomes)
        except OpenSeekError as error:
            told = "".join(traceback.format_exception(error))
        shown = caplog.text + told
        for secret in (KEY, "Baltic", "Rivers bring", "cannot answer in JSON", "study questions"):
            assert secret not in shown

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
