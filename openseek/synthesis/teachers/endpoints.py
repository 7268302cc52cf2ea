"""A teacher behind one or several OpenAI-compatible endpoints that serve the same model.

Faults that may pass (429, 5xx, resets, time-outs, a body cut short) are tried again, after the wait
that the server asks for or one that doubles; what will not pass fails at once with its own type.
Requests go to the endpoint with the least to do for its weight; one that fails rests, and is then
tried with a single request. Neither the key nor any prompt is ever logged or shown.

aiohttp and not httpx: at 64 requests in flight httpx 0.28 takes 10 ms of a core for each one (its
pool looks at every waiting request on every event), aiohttp 0.7 ms.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from urllib.request import getproxies

import aiohttp

from openseek.config.teachers import TeacherConfig
from openseek.errors import ConfigError, OpenSeekError, TransientError
from openseek.synthesis.teacher import Message, Prompt, Reply
from openseek.synthesis.teachers import wire
from openseek.synthesis.teachers.endpoint import Endpoint, Fault
from openseek.synthesis.teachers.reset_headers import used_up_s

log = logging.getLogger(__name__)


class EndpointTeacher:
    """Ask a model over HTTP.

    Args:
        config: Endpoints, model and limits.
        environ: Where keys are looked up by name.

    Raises:
        ConfigError: The environment has no variable of a configured name.
    """

    def __init__(self, config: TeacherConfig, environ: Mapping[str, str] = os.environ) -> None:
        self.name = config.model
        self.config = config
        self.endpoints = [Endpoint(e, config, environ) for e in config.all_endpoints]
        self._session: aiohttp.ClientSession | None = None
        self._turn = asyncio.Lock()  # who waits for an endpoint, in the order of arrival
        self._changed = asyncio.Event()
        self._stopped = False
        self._expected = config.max_tokens / 4  # completion tokens, a running mean

    def __repr__(self) -> str:
        return f"EndpointTeacher(model={self.name!r}, endpoints={self.endpoints!r})"

    def stop(self) -> None:
        """Send no further request; those in flight are still answered."""
        self._stopped = True
        self._changed.set()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def complete(self, prompt: Prompt, messages: tuple[Message, ...]) -> Reply:
        """Answer one prompt.

        Raises:
            RowFailure: The model refuses, or the server refuses this prompt (400, 413, 422).
            ConfigError: The key, the model or the URL is wrong, at every endpoint.
            PermanentError: The server does not speak this protocol.
            TransientError: All tries met faults that may pass.
        """
        body = wire.request_body(self.config, prompt, messages)
        length = sum(len(m["content"]) for m in messages) / 3
        tries, last = 0, ""
        while tries < self.config.max_tries:
            endpoint = await self._acquire(length)
            try:
                answer = await self._send(endpoint, body, length)
            except ConfigError as error:
                self._break(endpoint, error)
                continue
            finally:
                endpoint.in_flight -= 1
                self._changed.set()
            if isinstance(answer, Reply):
                return answer
            tries, last = tries + 1, answer.what
            if all(e.level >= self.config.max_tries for e in self.endpoints if not e.broken):
                break
        raise TransientError(
            f"no answer in {self.config.max_tries} tries; the last fault: {last}",
            where=", ".join(e.config.base_url for e in self.endpoints),
            mend="Is the endpoint up and not overloaded? Lower concurrency, or run again later: "
            "what is answered is kept.",
        )

    async def _acquire(self, length: float) -> Endpoint:
        """Wait for an endpoint and take it."""
        tokens = length + self._expected
        async with self._turn:
            while True:
                if self._stopped:
                    raise asyncio.CancelledError
                self._changed.clear()
                endpoint, wait = self._choose(tokens)
                if endpoint is not None:
                    endpoint.take(tokens, time.monotonic())
                    return endpoint
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()

    def _choose(self, tokens: float) -> tuple[Endpoint | None, float | None]:
        """Pick the free endpoint with the least load, or say how long to wait for one.

        Raises:
            ConfigError: None is left.
        """
        if all(e.broken for e in self.endpoints):
            raise self.endpoints[0].broken or ConfigError("no endpoint")
        now = time.monotonic()
        best: Endpoint | None = None
        soonest: float | None = None
        for endpoint in self.endpoints:
            if not endpoint.has_room:
                continue
            wait = endpoint.wait_s(tokens, now)
            if wait > 0:
                soonest = wait if soonest is None else min(wait, soonest)
            elif best is None or endpoint.load < best.load:
                best = endpoint
        return best, soonest

    def _break(self, endpoint: Endpoint, error: ConfigError) -> None:
        """Leave an endpoint out from now on; the last one's error ends the work."""
        endpoint.broken = error
        if all(e.broken for e in self.endpoints):
            raise error
        log.warning("teacher endpoint=%s left_out=%s", endpoint.config.base_url, error.what)

    async def _send(self, endpoint: Endpoint, body: bytes, length: float) -> Reply | Fault:
        """Send once, and note at the endpoint how it went."""
        sent = time.monotonic()
        try:
            answer, headers = await self._post(endpoint, body)
        except OpenSeekError:
            endpoint.level = 0  # it answers
            raise
        now = time.monotonic()
        if isinstance(answer, Fault):
            endpoint.failed(answer, sent, now)
            return answer
        used, expected = answer.prompt_tokens + answer.completion_tokens, length + self._expected
        self._expected += 0.05 * (answer.completion_tokens - self._expected)
        corrected = used - expected if used else 0.0
        rest = used_up_s(headers) if headers else 0.0
        endpoint.answered(sent, now, answer.completion_tokens, corrected, rest)
        return answer

    async def _post(
        self, endpoint: Endpoint, body: bytes
    ) -> tuple[Reply | Fault, Mapping[str, str]]:
        """Post once.

        Returns:
            The reply or a fault, and the headers that tell of limits, in lower case.
        """
        try:
            async with self._client().post(
                endpoint.url, data=body, headers=endpoint.headers, allow_redirects=False
            ) as response:
                status, told = response.status, response.headers
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            late = isinstance(error, TimeoutError)
            return Fault(type(error).__name__, overload=late), {}
        if (fault := wire.fault_of(status, told, time.time())) is not None:
            return fault, {}
        where = endpoint.config
        wire.refuse(status, where.base_url, where.api_key_env, self.config.model)
        try:
            data = json.loads(content)
        except ValueError:
            return Fault("truncated JSON"), {}
        limits = {n.lower(): v for n, v in told.items() if n.lower().startswith("x-ratelimit")}
        return wire.read_reply(data, where.base_url), limits

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
                timeout=aiohttp.ClientTimeout(total=self.config.timeout_s),
                headers={"User-Agent": "openseek"},
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=bool(getproxies()),
            )
        return self._session
