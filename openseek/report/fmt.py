"""Figures as text. What is missing, not a number or endless prints as a dash, never as an error."""

from __future__ import annotations

from openseek.units import format_bytes, format_count, format_seconds

DASH = "–"
HUGE = 1e18
LARGEST = 1e200  # beyond it, differences and squares overflow


def number(value: object) -> float | None:
    """Return a float that charts can work with, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if abs(result) < LARGEST else None


def count(value: object) -> str:
    """Print a count: exact below 10,000, else in three figures."""
    x = number(value)
    if x is None:
        return DASH
    if abs(x) >= HUGE:
        return f"{x:.2e}"
    if abs(x) < 10_000:
        return f"{int(x):,}" if x.is_integer() else f"{x:,.1f}"
    return format_count(x)


def exact(value: object) -> str:
    """Print a whole number with separators."""
    x = number(value)
    if x is None:
        return DASH
    return f"{x:.2e}" if abs(x) >= HUGE else f"{round(x):,}"


def size(value: object) -> str:
    """Print bytes in three figures."""
    x = number(value)
    if x is None:
        return DASH
    return f"{x:.2e} B" if abs(x) >= HUGE else format_bytes(x)


def duration(value: object) -> str:
    """Print seconds as a duration."""
    x = number(value)
    if x is None:
        return DASH
    return f"{x:.2e}s" if abs(x) >= HUGE else format_seconds(x)


def fixed(value: object, digits: int = 2) -> str:
    """Print with a fixed number of decimals, so that a column lines up."""
    x = number(value)
    if x is None:
        return DASH
    return f"{x:.2e}" if abs(x) >= 1e9 else f"{x:,.{digits}f}"


def signed(value: object, digits: int = 2) -> str:
    """Print a difference with its sign (a true minus)."""
    x = number(value)
    if x is None:
        return DASH
    return f"{x:+.{digits}f}".replace("-", "−")


def percent(value: object, digits: int = 1) -> str:
    """Print a share in [0, 1] as per cent."""
    x = number(value)
    return DASH if x is None else f"{100 * x:,.{digits}f} %"


def compact(value: object) -> str:
    """Print a figure for an axis or a label: three significant digits, small ones in powers."""
    x = number(value)
    if x is None:
        return DASH
    if x == 0:
        return "0"
    if abs(x) >= HUGE or abs(x) < 1e-3:
        return (
            f"{x:.1e}".replace("e-0", "e-")
            .replace("e+0", "e")
            .replace("e+", "e")
            .replace(".0e", "e")
        )
    return format_count(x)


def short(key: object, digits: int = 10) -> str:
    """Shorten a digest."""
    return str(key)[:digits] if key else DASH


def clip(text: object, limit: int = 400) -> str:
    """Cut a text at `limit` characters."""
    value = str(text)
    return value if len(value) <= limit else value[:limit].rstrip() + " …"
