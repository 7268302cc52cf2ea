"""Personal data and secrets: found by pattern, confirmed by check digit, replaced by type.

A pattern only runs on texts that can have it: `Hints` comes from the compiled counting pass or,
for one text, from three substring searches.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
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
# Eight groups, or fewer around `::`; what it is exactly, `ipaddress` decides.
_IP6 = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){1,7}(?::?[0-9A-Fa-f]{1,4}){1,7}(?![\w:]|\.[0-9])"
)
_SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----.{0,20000}?"
    r"-----END (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----"
    r"|(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{40,255}|glpat-[A-Za-z0-9_-]{20,64}"
    r"|hf_[A-Za-z0-9]{30,64}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,255}"
    r"|sk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{20,255}|[sr]k_live_[A-Za-z0-9]{20,255}"
    r"|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|dop_v1_[a-f0-9]{64}|shpat_[a-fA-F0-9]{32}"
    r"|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,255}|AIza[0-9A-Za-z_-]{35}|LTAI[0-9A-Za-z]{16,24}"
    r"|eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000}"
    r")(?![A-Za-z0-9])",
    re.DOTALL,
)
_LONG_NUMBER = re.compile(r"[0-9](?:[ -]?[0-9]){10}[0-9 Xx-]*")
_CANDIDATES: dict[str, re.Pattern[str]] = {
    "phone": _LONG_NUMBER,
    "id_number": _LONG_NUMBER,
    "bank_card": _LONG_NUMBER,
    "ip": re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"),
    "ip6": re.compile(r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,40}"),  # of 2000::/3
}
_AROUND = 4  # characters beside a candidate: `+86 ` before it, and what the patterns look at
_SECRET_STARTS = (
    "-----BEGIN ", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-",
    "SG.", "dop_v1_", "shpat_", ":AA",
    "hf_", "npm_", "pypi-", "sk-", "sk_live_", "rk_live_", "xox", "AIza", "LTAI", "eyJ",
)  # fmt: skip

_COLON = ord(":")  # of a bot's token, which has its number before

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
    if "ip" in kinds and ("::" in text or text.count(":") >= 7):
        text, n = _replace(text, "ip6")
        if n:
            found["ip"] = found.get("ip", 0) + n
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
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if found.version == 6 and address[:1] not in ("2", "3"):  # 2000::/3 is what is given out
        return False
    return found.is_global and not found.is_multicast and len(address.split(":")[0]) != 1


def _always(_: str) -> bool:
    return True


_RULES: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "secret": (_SECRET, _always),
    "id_number": (_ID_NUMBER, is_id_number),
    "bank_card": (_CARD, _is_card),
    "phone": (_PHONE, _always),
    "ip": (_IP, _is_public_address),
    "ip6": (_IP6, _is_public_address),
}


def _replace(text: str, kind: str) -> tuple[str, int]:
    pattern, confirm = _RULES[kind]
    placeholder = f"<{kind.rstrip('6').upper()}>"
    parts: list[str] = []
    done = count = 0
    for low, high in _windows(text, kind):
        for match in pattern.finditer(text, max(done, low), high):
            if confirm(match.group()):
                parts += [text[done : match.start()], placeholder]
                done, count = match.end(), count + 1
    return ("".join([*parts, text[done:]]), count) if count else (text, 0)


def _windows(text: str, kind: str) -> Iterator[tuple[int, int]]:
    """Yield places that can hold a kind, told by a pattern that the engine can search fast."""
    candidates = _CANDIDATES.get(kind)
    if candidates is None:
        yield 0, len(text)
        return
    for match in candidates.finditer(text):
        yield max(0, match.start() - _AROUND), min(len(text), match.end() + _AROUND)


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
    return any(
        start == 0 or data[start] == _COLON or not data[start - 1 : start].isalnum()
        for _, start, _ in starts
    )


@lru_cache(maxsize=1)
def _secret_starts() -> Any:
    from ahocorasick_rs import BytesAhoCorasick

    return BytesAhoCorasick([s.encode() for s in _SECRET_STARTS])
