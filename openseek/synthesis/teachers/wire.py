"""Requests and replies of `/chat/completions`, and what a status means. Knows no connection."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from openseek.config.teachers import TeacherConfig
from openseek.errors import ConfigError, PermanentError
from openseek.synthesis.teacher import Message, Prompt, Reply, RowFailure
from openseek.synthesis.teachers.endpoint import Fault
from openseek.synthesis.teachers.reset_headers import retry_after_s

_PASSING = {408, 409, 425, 429}
_OVERLOAD = {408, 429, 503, 504, 529}
_PROMPTS_FAULT = {400, 413, 422}
_DROPPED = {"title", "default", "minLength", "maxLength"}  # strict mode refuses these


def request_body(config: TeacherConfig, prompt: Prompt, messages: tuple[Message, ...]) -> bytes:
    """Lay out a request."""
    body: dict[str, Any] = {
        "model": config.model, "messages": list(messages), "temperature": config.temperature,
        "top_p": config.top_p, "max_tokens": config.max_tokens,
    }  # fmt: skip
    if prompt.stop:
        body["stop"] = list(prompt.stop)
    if prompt.sample:
        body["seed"] = prompt.sample
    if prompt.schema is not None and config.structured != "none":
        body["response_format"] = response_format(config.structured, prompt)
    return json.dumps(body | config.extra, ensure_ascii=True).encode()


def response_format(how: str, prompt: Prompt) -> dict[str, Any]:
    """Word what the server should hold an answer to, as `TeacherConfig.structured` says."""
    if how == "json_object":
        return {"type": "json_object"}
    strict = held_to(prompt)
    if how == "json_object_schema":
        return {"type": "json_object", "schema": strict}
    name = re.sub(r"[^a-zA-Z0-9_-]", "-", prompt.kind)[:64]
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "schema": strict, "strict": True},
    }


def held_to(prompt: Prompt) -> dict[str, Any]:
    """Return the JSON schema of a prompt's answers, with the bounds of its lists."""
    assert prompt.schema is not None
    strict: dict[str, Any] = strict_schema(prompt.schema.model_json_schema())
    least, most = prompt.items
    if most:
        for part in strict["properties"].values():
            if part.get("type") == "array":
                part |= {"minItems": least, "maxItems": most}
    return strict


def strict_schema(node: Any) -> Any:
    """Bring a JSON schema into the form that servers hold answers to.

    All keys are required and no other is allowed; what only the check afterwards can use is left
    out.
    """
    if isinstance(node, list):
        return [strict_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept: dict[str, Any] = {}
    for name, value in node.items():
        if name == "properties":
            kept[name] = {key: strict_schema(part) for key, part in value.items()}
        elif name not in _DROPPED:
            kept[name] = strict_schema(value)
    if "properties" in kept:
        kept |= {"required": list(kept["properties"]), "additionalProperties": False}
    return kept


def fault_of(status: int, headers: Mapping[str, str], now: float) -> Fault | None:
    """Return the fault that a status stands for, if it may pass.

    Args:
        status: HTTP status.
        headers: Headers of the answer.
        now: Unix time.
    """
    if status not in _PASSING and status < 500:
        return None
    wait = retry_after_s(headers, now)
    named = wait > 0 or "retry-after" in {name.lower() for name in headers}
    return Fault(f"HTTP {status}", wait if named else None, status in _OVERLOAD)


def refuse(status: int, base_url: str, key_env: str, model: str) -> None:
    """Raise what a status means that will not pass; 200 means nothing.

    Raises:
        RowFailure: The server refuses this prompt.
        ConfigError: It refuses the key, or knows no such path or model.
    """
    if status in _PROMPTS_FAULT:
        raise RowFailure("bad_request", f"the server refuses a prompt with HTTP {status}")
    if status in (401, 402, 403):
        raise ConfigError(
            f"the endpoint refuses the key: HTTP {status}",
            where=base_url,
            mend=f"Check the value of ${key_env or 'api_key_env (none set)'}, and its credit.",
        )
    if status != 200:
        raise ConfigError(
            f"HTTP {status} for model {model!r}",
            where=base_url,
            mend="Check base_url (it usually ends in /v1) and the model's name.",
        )


def read_reply(data: Any, base_url: str) -> Reply:
    """Read a chat completion.

    Raises:
        RowFailure: The model refuses.
        PermanentError: It is no chat completion.
    """
    try:
        choice = data["choices"][0]
        message = choice["message"]
        text, usage = message.get("content"), data.get("usage") or {}
        refused = message.get("refusal") or choice.get("finish_reason") == "content_filter"
        if not refused and not isinstance(text, str):
            raise TypeError("content is no text")
        details = usage.get("prompt_tokens_details") or {}
        # DeepSeek counts its cache at the top level.
        cached = details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0
        tokens = [usage.get(f"{part}_tokens") or 0 for part in ("prompt", "completion")]
        counted = [max(0, int(n)) for n in (*tokens, cached)]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise PermanentError(
            f"the answer is no chat completion ({type(error).__name__})",
            where=base_url,
            mend="Is this an OpenAI-compatible endpoint? It must answer /chat/completions.",
        ) from None
    if refused:
        raise RowFailure("refused", "the model refuses this prompt")
    return Reply(str(text), *counted)
