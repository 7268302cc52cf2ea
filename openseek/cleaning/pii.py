"""Personal data and secrets: found by pattern, confirmed by check digit, replaced by type.

A pattern only runs on texts that can have it: `Hints` comes from the compiled counting pass or,
for one text, from three substring searches.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from openseek.config.cleaning import PiiKind

PLACEHOLDERS: dict[PiiKind, str] = {
    "email": "<EMAIL>",
    "ip": "<IP>",
    "phone": "<PHONE>",
    "id_number": "<ID_NUMBER>",
    "bank_card": "<BANK_CARD>",
    "secret": "<SECRET>",
}

# What stands around a number must not make it part of a longer number or name.
_LEFT, _RIGHT = r"(?<![\w.+-])", r"(?![\w-]|\.\d)"
# Looked for around each @ only: a search from the left would try every word of a text.
_LOCAL = re.compile(r"(?<![\w.+-])[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_+-])?$")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
)
_LOCAL_CHARS = 65
_IP = re.compile(rf"{_LEFT}(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}{_RIGHT}")
_DIGITS_LEFT, _DIGITS_RIGHT = r"(?<![A-Za-z0-9_.])(?<![0-9]-)", r"(?![A-Za-z0-9_]|[.-][0-9])"
_PHONE = re.compile(
    rf"(?:{_DIGITS_LEFT}|(?<![A-Za-z0-9_.])(?:\+|00)86[ -]?)"
    rf"1[3-9][0-9](?:[0-9]{{8}}|([ -])[0-9]{{4}}\1[0-9]{{4}}){_DIGITS_RIGHT}"
)
_ID_NUMBER = re.compile(
    rf"{_DIGITS_LEFT}[1-9][0-9]{{5}}(?:19|20)[0-9]{{2}}[01][0-9][0-3][0-9][0-9]{{3}}[0-9Xx]{_DIGITS_RIGHT}"
)
_CARD = re.compile(
    rf"{_DIGITS_LEFT}(?:[3-6][0-9]{{12,18}}"
    rf"|[3-6][0-9]{{3}}([ -])[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{1,7}}){_DIGITS_RIGHT}"
)
_SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----.{0,20000}?"
    r"-----END (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----"
    r"|(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{40,255}|glpat-[A-Za-z0-9_-]{20,64}"
    r"|hf_[A-Za-z0-9]{30,64}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,255}"
    r"|sk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{20,255}|[sr]k_live_[A-Za-z0-9]{20,255}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,255}|AIza[0-9A-Za-z_-]{35}|LTAI[0-9A-Za-z]{16,24}"
    r"|eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000}"
    r")(?![A-Za-z0-9])",
    re.DOTALL,
)
_SECRET_STARTS = (
    "-----BEGIN ", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-",
    "hf_", "npm_", "pypi-", "sk-", "sk_live_", "rk_live_", "xox", "AIza", "LTAI", "eyJ",
)  # fmt: skip

_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
_ID_CHECK = "10X98765432"


# American Express 34 37, Diners 36 38, Visa 4, Mastercard 51-55, UnionPay and others 6.
_ISSUERS = ("34", "36", "37", "38", "4", "51", "52", "53", "54", "55", "6")


@dataclass(frozen=True)
class Hints:
    """What a text may hold; False only where it surely does not."""

    at_sign: bool = True
    long_number: bool = True
    dotted_number: bool = True


def mask_pii(
    text: str, kinds: Collection[PiiKind], hints: Hints | None = None
) -> tuple[str, dict[PiiKind, int]]:
    """Replace personal data and secrets by typed placeholders.

    Args:
        text: A text.
        kinds: What to replace.
        hints: What the text may hold; none: it is looked at.

    Returns:
        The text and how many of each kind were replaced.
    """
    hints = hints or Hints(at_sign="@" in text)
    possible: dict[PiiKind, bool] = {
        "secret": _may_hold_secret(text) if "secret" in kinds else False,
        "email": hints.at_sign,
        "id_number": hints.long_number,
        "bank_card": hints.long_number,
        "phone": hints.long_number,
        "ip": hints.dotted_number,
    }
    found: dict[PiiKind, int] = {}
    for kind, possibly in possible.items():
        if possibly and kind in kinds:
            text, n = _mask_emails(text) if kind == "email" else _replace(text, kind)
            if n:
                found[kind] = n
    return text, found


def is_id_number(digits: str) -> bool:
    """Check a Chinese resident number: date of birth and check digit (GB 11643-1999)."""
    try:
        date(int(digits[6:10]), int(digits[10:12]), int(digits[12:14]))
    except ValueError:
        return False
    total = sum(int(d) * w for d, w in zip(digits[:17], _ID_WEIGHTS, strict=True))
    return digits[17].upper() == _ID_CHECK[total % 11]


def passes_luhn(number: str) -> bool:
    """Check a card number by Luhn's sum (ISO/IEC 7812); spaces and dashes are ignored."""
    digits = [int(c) for c in number if c.isdigit()]
    doubled = [d * 2 - 9 if d > 4 else d * 2 for d in digits[-2::-2]]
    return len(digits) > 1 and len(set(digits)) > 1 and (sum(digits[::-2]) + sum(doubled)) % 10 == 0


def _is_card(number: str) -> bool:
    digits = re.sub("[ -]", "", number)
    lengths = {"3": (14, 15), "4": (13, 16, 19), "5": (16,), "6": (16, 17, 18, 19)}
    return digits.startswith(_ISSUERS) and len(digits) in lengths[digits[0]] and passes_luhn(digits)


def _is_public_address(address: str) -> bool:
    try:
        return ipaddress.IPv4Address(address).is_global
    except ValueError:
        return False


def _always(_: str) -> bool:
    return True


_RULES: dict[PiiKind, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "secret": (_SECRET, _always),
    "id_number": (_ID_NUMBER, is_id_number),
    "bank_card": (_CARD, _is_card),
    "phone": (_PHONE, _always),
    "ip": (_IP, _is_public_address),
}


def _replace(text: str, kind: PiiKind) -> tuple[str, int]:
    pattern, confirm = _RULES[kind]
    count = 0

    def swap(match: re.Match[str]) -> str:
        nonlocal count
        if not confirm(match.group()):
            return match.group()
        count += 1
        return PLACEHOLDERS[kind]

    return pattern.sub(swap, text), count


def _mask_emails(text: str) -> tuple[str, int]:
    parts: list[str] = []
    done, at, count = 0, text.find("@"), 0
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        # One character more than the longest local part, for the look behind.
        window = max(done, at - _LOCAL_CHARS - 1)
        local = _LOCAL.search(text[window:at]) if domain else None
        if domain and local and (local.start() > 0 or window == done):
            parts += [text[done : window + local.start()], PLACEHOLDERS["email"]]
            done, count = domain.end(), count + 1
        at = text.find("@", at + 1)
    return ("".join([*parts, text[done:]]), count) if count else (text, 0)


def _may_hold_secret(text: str) -> bool:
    data = text.encode("utf-8", "replace")
    starts = _secret_starts().find_matches_as_indexes(data)
    return any(start == 0 or not data[start - 1 : start].isalnum() for _, start, _ in starts)


@lru_cache(maxsize=1)
def _secret_starts() -> Any:
    from ahocorasick_rs import BytesAhoCorasick

    return BytesAhoCorasick([s.encode() for s in _SECRET_STARTS])
