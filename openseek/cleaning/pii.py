"""Personal data and secrets: found by pattern, confirmed by check digit, replaced by type.

A pattern only runs on texts that can have it: `Hints` comes from the compiled counting pass or,
for one text, from substring searches. Word borders are ASCII ones throughout, since Chinese puts
no space between a word and a number. Secrets are in `openseek.cleaning.secrets`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from datetime import date
from typing import NamedTuple

from openseek.cleaning.secrets import SECRET_PLACEHOLDERS, mask_secrets, placeholder
from openseek.config.masking import PERSONAL_KINDS, SECRET_KINDS, PiiKind

PLACEHOLDERS: dict[PiiKind, str] = {
    **{kind: placeholder(kind) for kind in PERSONAL_KINDS},
    **SECRET_PLACEHOLDERS,
}
"""Kind -> what stands for it in a text."""

# What stands around a number must not make it part of a longer number or name.
_LEFT, _RIGHT = r"(?<![A-Za-z0-9_.+-])", r"(?![A-Za-z0-9_-]|\.[0-9])"
# Looked for around each @ only: a search from the left would try every word of a text.
_LOCAL = re.compile(r"(?<![A-Za-z0-9_.+-])[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_+-])?$")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}([A-Za-z]{2,24})(?![A-Za-z0-9])"
)
_LOCAL_CHARS = 65
# Ends of file names such as `logo@2x.png`, which are no domains.
_FILE_ENDS = frozenset(("png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "html", "json"))
_IP = re.compile(rf"{_LEFT}(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}{_RIGHT}")
_IP_START = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}")
_VERSION = re.compile(r"(?:version|release|ver\.|版本|版)[ :：=号为是]{0,3}$", re.IGNORECASE)
_DIGITS_LEFT, _DIGITS_RIGHT = r"(?<![A-Za-z0-9_.])(?<![0-9]-)", r"(?![A-Za-z0-9_]|[.-][0-9])"
# Mobile numbers (11 digits from 13 to 19), and landlines: area code, dash, 7 or 8 digits.
_PHONE = re.compile(
    rf"(?:{_DIGITS_LEFT}|(?<![A-Za-z0-9_.])(?:\+|00)?86[ -]?)"
    rf"1[3-9][0-9](?:[0-9]{{8}}|([ -])[0-9]{{4}}\1[0-9]{{4}}){_DIGITS_RIGHT}"
    rf"|(?:{_DIGITS_LEFT}0|(?<![A-Za-z0-9_.])(?:\+|00)86[ -]?0?)"
    rf"(?:10|2[0-57-9]|[3-9][0-9]{{2}})-[2-8][0-9]{{6,7}}(?:-[0-9]{{1,5}})?{_DIGITS_RIGHT}"
)
# International form (ITU E.123), and the North American one. Each begins with a rare character,
# which the engine can search fast; what stands before it is looked at after that.
_ABROAD = re.compile(
    r"\+(?<![A-Za-z0-9_.)+]\+)(?!86)[1-9][0-9]{0,2}(?:[ -]?\(?[0-9]{1,4}\)?){2,6}"
    r"(?![A-Za-z0-9_]|[.,-][0-9])"
)
_AMERICAN = re.compile(r"-[0-9]{4}(?![A-Za-z0-9_]|[.-][0-9])")
_AREA = re.compile(
    r"(?:(?<![A-Za-z0-9_.-])(?:1-)?[2-9][0-9]{2}-|(?<![A-Za-z0-9_])\([2-9][0-9]{2}\) ?)"
    r"[2-9][0-9]{2}$"
)
_ID_NUMBER = re.compile(
    rf"{_DIGITS_LEFT}[1-9][0-9]{{5}}([ -]?)(?:19|20)[0-9]{{2}}[01][0-9][0-3][0-9]\1"
    rf"[0-9]{{3}}[0-9Xx]{_DIGITS_RIGHT}"
)
# Until 1999 they had 15 digits (area, birth as yymmdd, serial), no check digit: about one in 80 of
# all numbers of 15 digits would do. So they count only after a word that says what follows.
_OLD_ID = re.compile(
    rf"{_DIGITS_LEFT}(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5])[0-9]{{4}}"
    rf"([0-9]{{2}}[01][0-9][0-3][0-9])[0-9]{{3}}{_DIGITS_RIGHT}"
)
_SAYS_ID = re.compile(
    r"(?:身[份分][证證]|[证證]件[号號]|公民身[份分]|居民身[份分]|\bID (?:card|no\b|number)"
    r"|\bidentity (?:card|number))[^\n0-9]{0,16}\n?\Z",
    re.IGNORECASE,
)
_CARD = re.compile(
    rf"{_DIGITS_LEFT}(?:[3-6][0-9]{{12,18}}"
    rf"|[3-6][0-9]{{3}}([ -])[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{1,7}}"
    rf"|[3-6][0-9]{{3}}([ -])[0-9]{{4}}\2[0-9]{{4}}\2[0-9]{{4}}\2[0-9]{{3}}"
    rf"|3[47][0-9]{{2}}([ -])[0-9]{{6}}\3[0-9]{{5}}){_DIGITS_RIGHT}"
)
# Eight groups, or fewer around `::`; what it is exactly, `ipaddress` decides.
_IP6 = re.compile(
    r"(?<![A-Za-z0-9_:.])(?:[0-9A-Fa-f]{1,4}:){1,7}(?::?[0-9A-Fa-f]{1,4}){1,7}"
    r"(?![A-Za-z0-9_:]|\.[0-9])"
)
_IP6_START = re.compile(r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,40}")  # of 2000::/3
_LONG_NUMBER = re.compile(r"[0-9](?:[ -]?[0-9]){10}[0-9 Xx-]*")
_AROUND = 4  # characters beside a candidate: `+86 ` before it, and what the patterns look at

_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
_ID_CHECK = "10X98765432"


# American Express 34 37, Diners 36 38, Visa 4, Mastercard 51-55, UnionPay and others 6.
_ISSUERS = ("34", "36", "37", "38", "4", "51", "52", "53", "54", "55", "6")

_Found = list[tuple[int, int, PiiKind]]


class Hints(NamedTuple):
    """What a text may hold; False only where it surely does not."""

    at_sign: bool = True
    long_number: bool = True
    dotted_number: bool = True
    foreign_number: bool = True
    hex_colon: bool = True
    secret: bool = True


def mask_pii(
    text: str, kinds: Collection[PiiKind], hints: Hints | None = None
) -> tuple[str, dict[PiiKind, int]]:
    """Replace personal data and secrets by typed placeholders.

    Args:
        text: A text.
        kinds: What to replace; `secret` stands for all of `SECRET_KINDS`.
        hints: What the text may hold; none: it is looked at.

    Returns:
        The text and how many of each kind were replaced.
    """
    if hints is None:
        hints = Hints(at_sign="@" in text)
    elif not any(hints):
        return text, {}
    secrets = SECRET_KINDS if "secret" in kinds else [k for k in kinds if k in SECRET_KINDS]
    text, found = mask_secrets(text, secrets) if secrets and hints.secret else (text, {})
    if hints.at_sign and "email" in kinds:
        text = _replace(text, _emails(text), found)
    if hints.long_number:
        text = _replace(text, _numbers(text, kinds), found)
    if hints.foreign_number and "phone" in kinds:
        text = _replace(text, _foreign_phones(text), found)
    if "ip" in kinds:
        if hints.dotted_number:
            text = _replace(text, _addresses(text, _IP_START, _IP), found)
        if hints.hex_colon and ("::" in text or text.count(":") >= 7):
            text = _replace(text, _addresses(text, _IP6_START, _IP6), found)
    return text, found


def is_id_number(digits: str) -> bool:
    """Check a Chinese resident number: date of birth and check digit (GB 11643-1999)."""
    try:
        date(int(digits[6:10]), int(digits[10:12]), int(digits[12:14]))
    except ValueError:
        return False
    total = sum(int(d) * w for d, w in zip(digits[:17], _ID_WEIGHTS, strict=True))
    return digits[17].upper() == _ID_CHECK[total % 11]


def is_old_id_number(digits: str, before: str) -> bool:
    """Check a Chinese resident number of 15 digits: its area, date of birth, and what it follows.

    Args:
        digits: A number.
        before: The text before it; the last 40 characters are enough.
    """
    match = _OLD_ID.fullmatch(digits)
    try:
        born = date.fromisoformat(f"19{match[1]}") if match else None
    except ValueError:
        return False
    return born is not None and _SAYS_ID.search(before[-40:]) is not None


def passes_luhn(number: str) -> bool:
    """Check a card number by Luhn's sum (ISO/IEC 7812); spaces and dashes are ignored."""
    digits = [int(c) for c in number if c.isdigit()]
    doubled = [d * 2 - 9 if d > 4 else d * 2 for d in digits[-2::-2]]
    return len(digits) > 1 and len(set(digits)) > 1 and (sum(digits[::-2]) + sum(doubled)) % 10 == 0


def _replace(text: str, spans: _Found, found: dict[PiiKind, int]) -> str:
    """Put placeholders in place of spans, which are in order and apart; count them."""
    if not spans:
        return text
    parts: list[str] = []
    done = 0
    for start, end, kind in spans:
        parts += [text[done:start], PLACEHOLDERS[kind]]
        found[kind] = found.get(kind, 0) + 1
        done = end
    return "".join([*parts, text[done:]])


def _is_card(number: str) -> bool:
    digits = re.sub("[ -]", "", number)
    lengths = {"3": (14, 15), "4": (13, 16, 19), "5": (16,), "6": (16, 17, 18, 19)}
    return digits.startswith(_ISSUERS) and len(digits) in lengths[digits[0]] and passes_luhn(digits)


def _is_id(number: str) -> bool:
    return is_id_number(re.sub("[ -]", "", number))


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


_NUMBERS: tuple[tuple[PiiKind, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("id_number", _ID_NUMBER, _is_id),
    ("bank_card", _CARD, _is_card),
    ("phone", _PHONE, _always),
)
"""In order of how much their checks prove: of numbers that overlap, the first kind is taken."""


def _numbers(text: str, kinds: Collection[PiiKind]) -> _Found:
    """Find numbers with a meaning among the long ones."""
    wanted = [rule for rule in _NUMBERS if rule[0] in kinds]
    if not wanted:
        return []
    spans: _Found = []
    old_ids = "id_number" in kinds
    for candidate in _LONG_NUMBER.finditer(text):
        low, high = max(0, candidate.start() - _AROUND), candidate.end() + _AROUND
        own: _Found = []
        if old_ids and (match := _OLD_ID.search(text, low, high)):
            place = match.start()
            if is_old_id_number(match.group(), text[max(0, place - 40) : place]):
                own.append((*match.span(), "id_number"))
        for kind, pattern, confirm in wanted:
            for match in pattern.finditer(text, low, high):
                start, end = match.span()
                if all(end <= a or b <= start for a, b, _ in own) and confirm(match.group()):
                    own.append((start, end, kind))
        done = spans[-1][1] if spans else 0
        spans += sorted(span for span in own if span[0] >= done)
    return spans


def _foreign_phones(text: str) -> _Found:
    places: list[tuple[int, int]] = []
    if "+" in text:
        places += [m.span() for m in _ABROAD.finditer(text) if _is_e164(m.group())]
    if "-" in text:
        for match in _AMERICAN.finditer(text):
            if area := _AREA.search(text, max(0, match.start() - 12), match.start()):
                places.append((area.start(), match.end()))
    spans: _Found = []
    for start, end in sorted(places):
        if not spans or start >= spans[-1][1]:
            spans.append((start, end, "phone"))
    return spans


def _is_e164(number: str) -> bool:
    """Tell a number with its country from a sum: 10 to 15 digits, and not set in thousands."""
    groups = re.findall("[0-9]+", number)
    thousands = len(groups) > 2 and all(len(group) == 3 for group in groups[1:])
    return 10 <= sum(map(len, groups)) <= 15 and not thousands


def _addresses(text: str, candidates: re.Pattern[str], pattern: re.Pattern[str]) -> _Found:
    """Find public addresses; four numbers after the word `version` are none."""
    spans: _Found = []
    done = 0
    for start, end in _windows(text, candidates):
        for match in pattern.finditer(text, max(done, start), end):
            place = match.start()
            if _is_public_address(match.group()) and not _VERSION.search(
                text, max(0, place - 12), place
            ):
                done = match.end()
                spans.append((place, done, "ip"))
    return spans


def _windows(text: str, candidates: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yield places that can hold a kind, told by a pattern that the engine can search fast."""
    for match in candidates.finditer(text):
        yield max(0, match.start() - _AROUND), min(len(text), match.end() + _AROUND)


def _emails(text: str) -> _Found:
    spans: _Found = []
    done, at = 0, text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        if domain and domain[1].lower() not in _FILE_ENDS:
            # One character more than the longest local part, for the look behind.
            window = max(done, at - _LOCAL_CHARS - 1)
            local = _LOCAL.search(text[window:at])
            if local and (local.start() > 0 or window == done):
                done = domain.end()
                spans.append((window + local.start(), done, "email"))
        at = text.find("@", at + 1)
    return spans
