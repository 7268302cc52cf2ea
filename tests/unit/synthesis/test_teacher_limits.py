from __future__ import annotations

import email.utils
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, Field

from openseek.config.teachers import EndpointConfig, TeacherConfig
from openseek.errors import ConfigError
from openseek.synthesis.teacher import Prompt
from openseek.synthesis.teachers import wire
from openseek.synthesis.teachers.endpoint import Endpoint, Fault
from openseek.synthesis.teachers.limits import AdaptiveLimit, Bucket
from openseek.synthesis.teachers.reset_headers import duration_s, retry_after_s, used_up_s


class TestResetHeaders:
    NOW = 1_800_000_000.0

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"Retry-After": "7"}, 7.0),
            ({"retry-after": "0.5"}, 0.5),
            ({"Retry-After": "soon"}, 0),
            ({"Retry-After": "nan"}, 0),
            ({"Retry-After": "-3"}, 0),
            ({}, 0),
            ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
            ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s"}, 90),
            ({"x-ratelimit-remaining-requests": "4", "x-ratelimit-reset-requests": "1m30s"}, 0),
            ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
            ({"Retry-After": email.utils.formatdate(NOW + 60, usegmt=True)}, 60),
            ({"Retry-After": email.utils.formatdate(NOW - 60, usegmt=True)}, 0),
        ],
    )
    def test_waits(self, headers: dict[str, str], seconds: float) -> None:
        assert retry_after_s(headers, self.NOW) == pytest.approx(seconds)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("6m0s", 360), ("1h2m3.5s", 3723.5), ("15", 15), ("1800000000", 0), ("s5", 0), ("", 0)],
    )
    def test_durations(self, text: str, seconds: float) -> None:
        assert duration_s(text) == seconds

    def test_only_a_limit_that_is_used_up_counts(self) -> None:
        told = {"x-ratelimit-remaining-tokens": "12", "x-ratelimit-reset-tokens": "9s"}
        assert used_up_s(told) == 0


class TestBucket:
    def test_a_minute_never_gets_more_than_its_limit_and_a_tenth(self) -> None:
        bucket, now, sent = Bucket(600), 0.0, []
        for _ in range(1500):
            now += bucket.wait_s(1, now)
            bucket.take(1, now)
            sent.append(now)
        for start in sent[::97]:
            assert sum(start <= t < start + 60 for t in sent) <= 661

    def test_what_was_taken_too_much_is_given_back(self) -> None:
        bucket = Bucket(6000)
        bucket.take(600, 0.0)
        assert bucket.wait_s(100, 0.0) == pytest.approx(1.0)
        bucket.take(-300, 0.0)
        assert bucket.wait_s(100, 0.0) == 0

    def test_more_than_a_bucketful_is_let_through_and_paid_off(self) -> None:
        bucket = Bucket(60)
        assert bucket.wait_s(50, 0.0) == 0
        bucket.take(50, 0.0)
        assert bucket.wait_s(1, 0.0) == pytest.approx(45)

    def test_no_limit_never_waits(self) -> None:
        assert Bucket(0).wait_s(1e9, 0.0) == 0


class TestAdaptiveLimit:
    def test_it_doubles_every_round_until_the_first_overload(self) -> None:
        limit = AdaptiveLimit(64)
        assert int(limit) == 32
        for _ in range(32):
            limit.answered(0, 1, 10)
        assert int(limit) == 64

    def test_one_overload_of_many_requests_halves_once(self) -> None:
        limit = AdaptiveLimit(64)
        for _ in range(32):
            limit.overloaded(sent=0.0, now=1.0)
        assert int(limit) == 16
        limit.overloaded(sent=2.0, now=3.0)
        assert int(limit) == 8
        for _ in range(8):
            limit.answered(3, 4, 10)
        assert int(limit) in (8, 9)  # one more a round now

    def test_it_never_falls_below_one(self) -> None:
        limit = AdaptiveLimit(4)
        for i in range(10):
            limit.overloaded(float(i), i + 0.5)
        assert int(limit) == 1

    def test_a_latency_that_grows_is_an_overload_and_long_answers_are_not(self) -> None:
        for tokens, halves in ((100, True), (1100, False)):
            limit, now = AdaptiveLimit(16, slow_factor=4.0), 0.0
            for round_ in range(6):
                for _ in range(16):
                    limit.answered(
                        now, now + (10 if round_ > 3 else 1), tokens if round_ > 3 else 100
                    )
                now += 20
            assert (int(limit) < 16) == halves


def endpoint(**given: object) -> Endpoint:
    teacher = TeacherConfig(kind="openai", model="m", base_url="http://h/v1", backoff_s=1.0)
    return Endpoint(EndpointConfig(base_url="http://h/v1", **given), teacher, {})  # type: ignore[arg-type]


class TestEndpoint:
    def test_the_servers_wait_is_kept_to(self) -> None:
        one = endpoint()
        one.failed(Fault("HTTP 429", 7.0, True), 0.0, 1.0)
        assert one.wait_s(1, 1.0) == pytest.approx(7)
        assert one.wait_s(1, 8.0) == 0

    def test_a_wait_is_capped(self) -> None:
        one = endpoint()
        one.failed(Fault("HTTP 429", 9000.0, True), 0.0, 0.0)
        assert one.wait_s(1, 0.0) == pytest.approx(60)

    def test_faults_of_one_moment_count_once_and_rounds_double_the_rest(self) -> None:
        one = endpoint()
        for _ in range(20):
            one.failed(Fault("HTTP 500"), 0.0, 1.0)
        assert one.level == 1
        assert 0.75 <= one.wait_s(1, 1.0) <= 1.25
        one.failed(Fault("HTTP 500"), 3.0, 4.0)
        assert 1.5 <= one.wait_s(1, 4.0) <= 2.5
        one.take(1, 7.0)
        assert not one.has_room  # a single request tries it
        one.answered(7.0, 8.0, 10, 0, 0)
        assert one.has_room

    def test_a_missing_or_unusable_key_is_named_and_not_shown(self) -> None:
        teacher = TeacherConfig(kind="openai", model="m", base_url="http://h/v1")
        config = EndpointConfig(base_url="http://h/v1", api_key_env="SOME_KEY")
        for value in ("", "se\ncret", "sécret"):
            with pytest.raises(ConfigError, match="SOME_KEY") as caught:
                Endpoint(config, teacher, {"SOME_KEY": value})
            assert "cret" not in repr(caught.value)


class Step(BaseModel):
    text: str = Field(min_length=1)


class Steps(BaseModel):
    steps: list[Step]
    title: str = ""


class TestStructured:
    PROMPT = Prompt("long_cot/chain", "en", {}, (), Steps)

    def test_strict_schemas_require_all_keys_and_allow_no_other(self) -> None:
        schema = wire.strict_schema(Steps.model_json_schema())
        assert schema["required"] == ["steps", "title"]
        assert schema["additionalProperties"] is False
        assert schema["$defs"]["Step"]["additionalProperties"] is False
        assert "minLength" not in str(schema)
        assert "title" in schema["properties"]  # a property of that name is no annotation

    def test_lists_have_the_bounds_of_the_prompt(self) -> None:
        schema = wire.held_to(replace(self.PROMPT, items=(3, 8)))
        assert (schema["properties"]["steps"]["minItems"]) == 3
        assert (schema["properties"]["steps"]["maxItems"]) == 8
        assert "maxItems" not in str(wire.held_to(self.PROMPT))

    def test_each_server_is_asked_in_its_words(self) -> None:
        made = wire.response_format("json_schema", self.PROMPT)
        assert made["json_schema"]["name"] == "long_cot-chain"
        assert wire.response_format("json_object", self.PROMPT) == {"type": "json_object"}
        spelt = wire.response_format("json_object_schema", self.PROMPT)
        assert spelt["schema"]["required"] == ["steps", "title"]


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ({"kind": "openai", "extra": {"model": "other"}}, "extra may not hold model"),
        ({"kind": "transformers", "extra": {"min_p": 0.1}}, "kind=openai only"),
    ],
)
def test_further_fields_that_cannot_be_sent_are_refused(teacher: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TeacherConfig(model="m", base_url="http://127.0.0.1:1/v1", **teacher)
