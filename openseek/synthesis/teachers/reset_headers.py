"""How long a server asks to wait: `Retry-After`, and the headers that providers add to it."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def retry_after_s(headers: Mapping[str, str], now: float) -> float:
    """Read the wait after a 429 or 503; 0 where the server names none.

    `retry-after-ms` goes before `Retry-After` (seconds or an HTTP date), and that before the resets
    of the limits that are used up.

    Args:
        headers: Headers of the answer, their names in any case.
        now: Unix time, which dates are compared with.
    """
    low = {name.lower(): value.strip() for name, value in headers.items()}
    if (wait := _number(low.get("retry-after-ms", ""))) is not None:
        return wait / 1000
    if (told := low.get("retry-after", "")) != "":
        if (wait := _number(told)) is not None:
            return wait
        try:
            return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - now)
        except (ValueError, TypeError):
            pass
    return used_up_s(low)


def used_up_s(low: Mapping[str, str]) -> float:
    """Read when a limit that has nothing left is reset (`x-ratelimit-…`), in seconds from now.

    Args:
        low: Headers of any answer, their names in lower case.
    """
    wait = 0.0
    for kind in ("-requests", "-tokens", ""):
        left = _number(low.get(f"x-ratelimit-remaining{kind}", ""))
        if left == 0:
            wait = max(wait, duration_s(low.get(f"x-ratelimit-reset{kind}", "")))
    return wait


def duration_s(text: str) -> float:
    """Read `6m0s`, `120ms` or a number of seconds; 0 for anything else.

    A number above a day is taken for a Unix time, which says nothing without a clock, and gives 0.
    """
    if (number := _number(text)) is not None:
        return number if number <= 86400 else 0.0
    parts = _PART.findall(text)
    if "".join(n + unit for n, unit in parts) != text:
        return 0.0
    return sum(float(n) * _SECONDS[unit] for n, unit in parts)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return max(0.0, number) if number == number and number != float("inf") else None
