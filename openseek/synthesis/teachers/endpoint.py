"""One endpoint: whether it may be sent a request now, and how it has been doing.

A fault makes it rest for a while that doubles, an answer ends that. Faults of requests that were
under way together count as one: `level` is the number of such rounds in a row.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass

from openseek.config.teachers import EndpointConfig, TeacherConfig
from openseek.errors import ConfigError
from openseek.synthesis.teachers.limits import AdaptiveLimit, Bucket

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fault:
    """Why a request was not answered, if trying again may help.

    Attributes:
        what: Short and without any content: `HTTP 429`, `TimeoutError`.
        wait_s: Seconds that the server asks to wait; None: it does not say.
        overload: Whether fewer requests at the same time may help.
    """

    what: str
    wait_s: float | None = None
    overload: bool = False


class Endpoint:
    """State of one endpoint.

    Args:
        config: Its address and limits.
        teacher: What holds for all.
        environ: Where the key is looked up by name.

    Raises:
        ConfigError: The environment has no variable of the configured name.
    """

    def __init__(
        self, config: EndpointConfig, teacher: TeacherConfig, environ: Mapping[str, str]
    ) -> None:
        self.config = config
        self.url = f"{config.base_url}/chat/completions"
        self.headers = {"Content-Type": "application/json"} | _authorization(config, environ)
        self.limit = AdaptiveLimit(config.concurrency or teacher.concurrency, teacher.slow_factor)
        self.requests = Bucket(config.requests_per_minute or teacher.requests_per_minute)
        self.tokens = Bucket(config.tokens_per_minute or teacher.tokens_per_minute)
        self.in_flight = 0
        self.level = 0
        self.broken: ConfigError | None = None
        self._teacher = teacher
        self._ready_at = 0.0
        self._level_at = float("-inf")

    def __repr__(self) -> str:
        return f"Endpoint({self.config.base_url!r}, in_flight={self.in_flight})"

    @property
    def has_room(self) -> bool:
        """Whether it may have one more request; one that failed is tried with a single one."""
        return self.broken is None and self.in_flight < (1 if self.level else int(self.limit))

    @property
    def load(self) -> float:
        """Requests by its weight if it got one more."""
        return (self.in_flight + 1) / self.config.weight

    def wait_s(self, tokens: float, now: float) -> float:
        """Return the seconds until it may be sent a request of so many tokens."""
        limits = max(self.requests.wait_s(1, now), self.tokens.wait_s(tokens, now))
        return max(0.0, self._ready_at - now, limits)

    def take(self, tokens: float, now: float) -> None:
        """Count a request that is sent."""
        self.in_flight += 1
        self.requests.take(1, now)
        self.tokens.take(tokens, now)

    def answered(self, sent: float, now: float, tokens: int, corrected: float, rest: float) -> None:
        """Note an answer.

        Args:
            sent: When it was asked for.
            now: When it came.
            tokens: Its completion tokens.
            corrected: Tokens in all, less those that were taken for it beforehand.
            rest: Seconds until a limit that it used up is reset.
        """
        self.level = 0
        self.limit.answered(sent, now, tokens)
        self.tokens.take(corrected, now)
        self._rest(rest, now)

    def failed(self, fault: Fault, sent: float, now: float) -> None:
        """Note a fault; one line in the log for all that were under way together."""
        if fault.overload:
            self.limit.overloaded(sent, now)
        if sent >= self._level_at:
            self.level += 1
            log.warning(
                "teacher fault=%s endpoint=%s round=%d in_flight=%d",
                fault.what, self.config.base_url, self.level, self.in_flight,
            )  # fmt: skip
            self._level_at = now
            self._rest(self.backoff_s(self.level) if fault.wait_s is None else fault.wait_s, now)
        elif fault.wait_s is not None:
            self._rest(fault.wait_s, now)

    def backoff_s(self, level: int) -> float:
        """Return a wait that doubles with the level, give or take a quarter."""
        return self._teacher.backoff_s * 2.0 ** min(level - 1, 16) * (0.75 + random.random() / 2)

    def _rest(self, wait_s: float, now: float) -> None:
        self._ready_at = max(self._ready_at, now + min(wait_s, self._teacher.max_wait_s))


def _authorization(config: EndpointConfig, environ: Mapping[str, str]) -> dict[str, str]:
    if not config.api_key_env:
        return {}
    key = environ.get(config.api_key_env, "").strip()
    if not key or not key.isprintable() or not key.isascii():
        raise ConfigError(
            f"the environment variable {config.api_key_env!r} is "
            + ("no usable key" if key else "not set"),
            where="teacher.api_key_env",
            mend="Export it in the shell of the run, or leave api_key_env empty for an endpoint "
            "without a key.",
        )
    return {"Authorization": f"Bearer {key}"}
