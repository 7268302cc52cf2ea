"""Human units: `2M` tokens, `256MB`, `90s`; parsing and printing."""

from __future__ import annotations

import re

_COUNT = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_BYTES = {
    "": 1,
    "b": 1,
    **{f"{p}b": 10 ** (3 * i) for i, p in enumerate("kmgt", start=1)},
    **{f"{p}ib": 2 ** (10 * i) for i, p in enumerate("kmgt", start=1)},
}
_NUMBER = re.compile(r"^\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z]*)\s*$")


def _parse(value: object, scale: dict[str, int], example: str) -> int:
    if isinstance(value, bool) or value is None:
        raise ValueError(f"expected a number such as {example}, got {value!r}")
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError(f"expected a whole number such as {example}, got {value!r}")
        return int(value)
    match = _NUMBER.match(str(value))
    if match is None or match.group(2).lower() not in scale:
        raise ValueError(f"expected a number such as {example}, got {value!r}")
    exact = float(match.group(1).replace("_", "")) * scale[match.group(2).lower()]
    if not exact.is_integer():
        raise ValueError(f"{value!r} is not a whole number")
    return int(exact)


def parse_count(value: object) -> int:
    """Read a count: `2M`, `1.5B`, `4096`.

    Raises:
        ValueError: The value is not a whole count.
    """
    return _parse(value, _COUNT, "4096, 2M or 1.5B")


def parse_bytes(value: object) -> int:
    """Read a size in bytes: `256MB` (10^6), `64MiB` (2^20), `1024`.

    Raises:
        ValueError: The value is not a whole number of bytes.
    """
    return _parse(value, _BYTES, "1024, 256MB or 64MiB")


def _scaled(value: float, steps: list[tuple[float, str]]) -> str:
    for size, unit in steps:
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def format_count(value: float) -> str:
    """Print a count in three figures: `2.05M`."""
    return _scaled(value, [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")])


def format_bytes(value: float) -> str:
    """Print a size in three figures: `256 MB`."""
    return _scaled(value, [(1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB")]) + (
        "" if abs(value) >= 1e3 else " B"
    )


def format_seconds(value: float) -> str:
    """Print a duration: `41s`, `3m20s`, `2h05m`."""
    whole = round(value)
    if whole < 60:
        return f"{value:.1f}s" if value < 10 else f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
