"""What a model's tokens cost: the shipped table, your own, or the teacher's section."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from openseek.config.teachers import TeacherConfig
from openseek.errors import ConfigError

SHIPPED = Path(__file__).with_name("prices.yaml")
_LOCAL = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Price:
    """USD per million tokens.

    Attributes:
        prompt: Of the prompt.
        completion: Of the answer.
        cached: Of the part of the prompt that the provider had cached.
        known: Whether anybody said so; an unknown price is zero.
    """

    prompt: float = 0.0
    completion: float = 0.0
    cached: float = 0.0
    known: bool = True

    def usd(
        self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0
    ) -> float:
        """Price some tokens; the cached ones are part of the prompt's."""
        fresh = max(0.0, prompt_tokens - cached_tokens) * self.prompt
        return (fresh + cached_tokens * self.cached + completion_tokens * self.completion) / 1e6


def price_of(teacher: TeacherConfig) -> Price:
    """Find the price of a teacher's model.

    The section's own figures go first, then the tables. A model in this process or on this machine
    is free, unless the section says otherwise.

    Raises:
        ConfigError: A price table cannot be read.
    """
    own = teacher.price_in, teacher.price_out
    if any(own):
        return Price(*own, teacher.price_cached or teacher.price_in)
    if teacher.kind != "openai" or all(_is_local(e.base_url) for e in teacher.all_endpoints):
        return Price()
    for path in [*([Path(teacher.prices)] if teacher.prices else []), SHIPPED]:
        for pattern, price in _table(path):
            if fnmatch.fnmatchcase(teacher.model.lower(), pattern.lower()):
                return price
    return Price(known=False)


def cost_usd(usage: Mapping[str, int], config: TeacherConfig) -> float:
    """Price the tokens of a ledger, in US dollars."""
    tokens = (usage.get(f"{part}_tokens", 0) for part in ("prompt", "completion", "cached"))
    return price_of(config).usd(*tokens)


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in _LOCAL


@cache
def _table(path: Path) -> tuple[tuple[str, Price], ...]:
    """Read `models: [{model, prompt, completion, cached?}]`, the first match counts."""
    try:
        listed: Any = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
        return tuple(
            (
                str(m["model"]),
                Price(
                    float(m["prompt"]),
                    float(m["completion"]),
                    float(m.get("cached", m["prompt"])),
                ),
            )
            for m in listed
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"no price table ({type(error).__name__})",
            where=str(path),
            mend="Write `models:` with entries {model: NAME or pattern, prompt: USD per million "
            "tokens, completion: …, cached: …}.",
        ) from error
