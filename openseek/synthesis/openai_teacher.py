"""A teacher behind an OpenAI-compatible `/chat/completions` endpoint.

Faults that may pass (429, 5xx, resets, time-outs, a body cut short) are tried again with growing
waits, honouring `Retry-After`; what will not pass fails at once with its own type. Neither the key
nor any prompt is ever logged or shown.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import os
import random
import time
from collections.abc import Mapping
from typing import Any

import httpx

from openseek.config.synthesis import TeacherConfig
from openseek.errors import ConfigError, PermanentError, TransientError
from openseek.synthesis.teacher import Message, Prompt, Reply, RowFailure

log = logging.getLogger(__name__)

_PASSING = {408, 409, 425, 429}


class OpenAITeacher:
    """Ask a model over HTTP, with bounded concurrency and retries.

    Args:
        config: Endpoint, model and limits.
        environ: Where the key is looked up by name.

    Raises:
        ConfigError: The environment has no variable of the configured name.
    """

    def __init__(self, config: TeacherConfig, environ: Mapping[str, str] = os.environ) -> None:
        self.name = config.model
        self.config = config
        headers = {}
        if config.api_key_env:
            key = environ.get(config.api_key_env, "")
            if not key:
                raise ConfigError(
                    f"the environment variable {config.api_key_env!r} is not set",
                    where="synthesis.teacher.api_key_env",
                    mend="Export it in the shell of the run and of its workers, or leave "
                    "api_key_env empty for an endpoint without a key.",
                )
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=config.timeout_s,
            limits=httpx.Limits(max_connections=config.concurrency),
        )
        self._gate = asyncio.Semaphore(config.concurrency)

    def __repr__(self) -> str:
        return f"OpenAITeacher(model={self.name!r}, base_url={self.config.base_url!r})"

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def complete(self, prompt: Prompt, messages: tuple[Message, ...]) -> Reply:
        """Answer one prompt.

        Raises:
            RowFailure: The model refuses, or the server refuses this prompt (400, 413, 422).
            ConfigError: The key, the model or the URL is wrong.
            PermanentError: The server does not speak this protocol.
            TransientError: All tries met faults that may pass.
        """
        config = self.config
        body: dict[str, Any] = {
            "model": config.model, "messages": list(messages), "temperature": config.temperature,
            "top_p": config.top_p, "max_tokens": config.max_tokens,
        }  # fmt: skip
        if config.json_mode:
            body["response_format"] = {"type": "json_object"}
        fault = ""
        for tries in range(1, config.max_tries + 1):
            async with self._gate:
                fault, wait, reply = await self._once(body)
            if reply is not None:
                return reply
            if tries < config.max_tries:
                wait = min(max(wait, self._backoff(tries)), config.max_wait_s)
                log.warning("teacher fault=%s try=%d wait_s=%.1f", fault, tries, wait)
                await asyncio.sleep(wait)
        raise TransientError(
            f"no answer in {config.max_tries} tries; the last fault: {fault}",
            where=config.base_url,
            mend="Is the endpoint up and not overloaded? Lower concurrency, or run again later: "
            "finished shards are kept.",
        )

    def _backoff(self, tries: int) -> float:
        return self.config.backoff_s * 2.0 ** (tries - 1) * (0.75 + random.random() / 2)

    async def _once(self, body: dict[str, Any]) -> tuple[str, float, Reply | None]:
        """Send once; return the fault, the wait that the server asks for, and the reply if any."""
        url = f"{self.config.base_url}/chat/completions"
        try:
            response = await self._client.post(url, json=body)
        except httpx.TransportError as error:
            return type(error).__name__, 0.0, None
        status = response.status_code
        if status in _PASSING or status >= 500:
            return f"HTTP {status}", _retry_after(response.headers.get("retry-after", "")), None
        self._refuse(status)
        try:
            data = json.loads(response.content)
        except ValueError:
            return "truncated JSON", 0.0, None
        return "", 0.0, self._read(data)

    def _refuse(self, status: int) -> None:
        if status in (400, 413, 422):
            raise RowFailure("bad_request", f"the server refuses a prompt with HTTP {status}")
        if status in (401, 403):
            raise ConfigError(
                f"the endpoint refuses the key: HTTP {status}",
                where=self.config.base_url,
                mend=f"Check the value of ${self.config.api_key_env or 'api_key_env (none set)'}.",
            )
        if status != 200:
            raise ConfigError(
                f"HTTP {status} for model {self.config.model!r}",
                where=self.config.base_url,
                mend="Check base_url (it usually ends in /v1) and the model's name.",
            )

    def _read(self, data: Any) -> Reply:
        try:
            choice = data["choices"][0]
            message = choice["message"]
            text, usage = message.get("content"), data.get("usage") or {}
            refused = message.get("refusal") or choice.get("finish_reason") == "content_filter"
            if not refused and not isinstance(text, str):
                raise TypeError("content is no text")
            tokens = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise PermanentError(
                f"the answer is no chat completion ({type(error).__name__}: {error})",
                where=self.config.base_url,
                mend="Is this an OpenAI-compatible endpoint? It must answer /chat/completions.",
            ) from error
        if refused:
            raise RowFailure("refused", "the model refuses this prompt")
        return Reply(str(text), *tokens)


def _retry_after(value: str) -> float:
    """Read seconds or an HTTP date; 0 where there is neither."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
