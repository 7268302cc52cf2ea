"""Keys, tokens and passwords: one pass over the bytes for where they start, then their own form.

An automaton finds how known tokens begin (`ghp_`, `AKIA`) and names that a secret is given to
(`api_key`); only there a pattern is tried. Forms are those that the issuers document; entropy
limits are those of gitleaks (generic-api-key: 3.5 bits a character) and detect-secrets (hex: 3.0).
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from math import log2
from typing import Any

from openseek.config.masking import SECRET_KINDS, PiiKind

_MIN_ENTROPY, _MIN_HEX_ENTROPY = 3.5, 3.0  # bits a character
_MAX_PEM = 20_000  # bytes of a key block: an RSA key of 16,384 bits has 12,600
_RUN = 16  # letters and digits in a row that only chance makes, not a name

_ALTERNATION, _ALTERNATIONS = re.compile(rb"[a-z](?=[0-9])|[0-9](?=[a-z])"), 3
_ALPHABETS = (b"abcdefgh", b"01234567", b"12345678", b"placeholder", b"example")

Span = tuple[int, int, PiiKind]


def _entropy(value: bytes) -> float:
    counts = Counter(value).values()
    return sum(n * log2(len(value) / n) for n in counts) / max(1, len(value))


def _is_random(value: bytes) -> bool:
    """Tell a generated value from a name, a path or a phrase.

    Its letters and digits alternate (in `YOUR_API_KEY_1234` they do once), and it has entropy.
    """
    lower = value.lower()
    if len(_ALTERNATION.findall(lower)) < _ALTERNATIONS or any(a in lower for a in _ALPHABETS):
        return False
    least = _MIN_HEX_ENTROPY if re.fullmatch(rb"[0-9a-fA-F-]+", value) else _MIN_ENTROPY
    return _entropy(value) >= least


def _has_run(value: bytes) -> bool:
    """Tell a key from a hyphenated name such as `sk-container-id-2-label`."""
    return any(
        len(run) >= _RUN and any(48 <= byte <= 57 for byte in run)
        for run in re.split(rb"[-_]", value)
    )


def _is_jwt(value: bytes) -> bool:
    """Check that the first part is a header in JSON that names an algorithm (RFC 7515)."""
    head = value.split(b".")[0]
    try:
        return b'"alg"' in base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4))
    except (binascii.Error, ValueError):
        return False


def _always(_: bytes) -> bool:
    return True


@dataclass(frozen=True)
class _Form:
    """A kind of secret: how it starts, what it looks like, and a check of what was found.

    Of a pattern with a group `v` only that is masked. `before`: bytes before the start that belong
    to it. `named`: the start is a name, which may stand inside a longer one.
    """

    kind: PiiKind
    starts: tuple[str, ...]
    pattern: re.Pattern[bytes]
    confirm: Callable[[bytes], bool] = _always
    before: int = 0
    named: bool = False


def _token(pattern: str) -> re.Pattern[bytes]:
    return re.compile(rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])".encode())


def _spellings(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s for n in names for s in (n, n.upper(), n.capitalize())))


_B64 = "[A-Za-z0-9_-]"
_ASSIGNED = re.compile(
    rb"""[A-Za-z0-9_.-]{1,48}+["']?\]?[ \t]{0,4}(?:=>|:=|=|:)(?!=)[ \t]{0,4}(?:"""
    rb"""(?P<q>["'`])(?P<v>[A-Za-z0-9_+/=.~!@#$%^&*-]{16,200})(?P=q)"""
    rb"""|(?P<u>[A-Za-z0-9_+/-]{20,200}+={0,2}+)(?![A-Za-z0-9_+/=.(\[-]))"""
)
_FORMS = (
    _Form("aws_key", ("AKIA", "ASIA"), _token("(?:AKIA|ASIA)[0-9A-Z]{16}")),
    _Form("alibaba_key", ("LTAI",), _token("LTAI[0-9A-Za-z]{16,24}")),
    _Form(
        "github_token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        _token("gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{40,255}"),
    ),
    _Form("gitlab_token", ("glpat-",), _token(f"glpat-{_B64}{{20,64}}")),
    _Form(
        "slack_token",
        ("xox", "xapp-", "hooks.slack.com/services/"),
        _token(
            "xox[abeprs]-[A-Za-z0-9-]{10,255}|xapp-[0-9]-[A-Za-z0-9-]{20,255}"
            "|hooks\\.slack\\.com/services/T[A-Z0-9]{5,12}/B[A-Z0-9]{5,12}/[A-Za-z0-9]{20,32}"
        ),
    ),
    _Form(
        "google_key",
        ("AIza", "GOCSPX-", "ya29."),
        _token(f"AIza{_B64}{{35}}|GOCSPX-{_B64}{{28}}|ya29\\.{_B64}{{40,500}}"),
    ),
    _Form(
        "model_key",
        ("sk-", "gsk_"),
        _token(f"sk-(?:proj-|ant-|or-|svcacct-)?{_B64}{{20,255}}|gsk_[A-Za-z0-9]{{40,64}}"),
        _has_run,
    ),
    _Form("huggingface_token", ("hf_",), _token("hf_[A-Za-z0-9]{30,64}")),
    _Form(
        "stripe_key",
        ("sk_live_", "rk_live_", "whsec_"),
        _token("[sr]k_live_[A-Za-z0-9]{20,255}|whsec_[A-Za-z0-9]{32,64}"),
    ),
    _Form(
        "package_token",
        ("npm_", "pypi-"),
        _token(f"npm_[A-Za-z0-9]{{36}}|pypi-{_B64}{{50,255}}"),
    ),
    _Form(
        "service_token",
        ("SG.", "dop_v1_", "shpat_"),
        _token(f"SG\\.{_B64}{{22}}\\.{_B64}{{43}}|dop_v1_[a-f0-9]{{64}}|shpat_[a-fA-F0-9]{{32}}"),
    ),
    _Form("service_token", (":AA",), _token(f"[0-9]{{8,10}}:AA{_B64}{{33}}"), before=10),
    _Form(
        "jwt",
        ("eyJ",),
        _token(f"eyJ{_B64}{{10,2000}}\\.eyJ{_B64}{{10,4000}}\\.{_B64}{{10,1000}}"),
        _is_jwt,
    ),
    _Form(
        "credential",
        (
            *_spellings("secret", "token", "passw", "api_key", "api-key", "apikey", "access_key"),
            *_spellings("auth_key", "account_key"),
            "apiKey", "ApiKey", "accessKey", "AccessKey", "authKey", "AccountKey",
        ),
        _ASSIGNED,
        _is_random,
        named=True,
    ),
    _Form(
        "credential",
        ("Bearer ", "bearer "),
        re.compile(rb"[Bb]earer (?P<v>[A-Za-z0-9._~+/-]{20,500}=*)"),
        _is_random,
    ),
)  # fmt: skip
_PEM_START = "-----BEGIN "
_PEM_HEAD = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----")
_PEM_TAIL = re.compile(rb"-----END (?:[A-Z0-9]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----")
# What is left of a block that was cut off: two lines or more of base64.
_PEM_BODY = re.compile(rb"(?:[\s\\nr]*[A-Za-z0-9+/=]{32,76}){2,400}")
# Looked for before each @ only.
_URL_PASSWORD = re.compile(rb"://[A-Za-z0-9._~%+-]{0,64}:(?P<v>[^\s:/@<>{}\"'`$*\\]{3,128})$")
_URL_HEAD = 3 + 64 + 1 + 128  # longest match, in bytes
_NO_PASSWORD = frozenset((b"password", b"passwd", b"pass", b"pwd", b"secret", b"xxx", b"xxxx"))


def mask_secrets(text: str, kinds: Collection[PiiKind]) -> tuple[str, dict[PiiKind, int]]:
    """Replace secrets by typed placeholders such as <AWS_KEY>.

    Args:
        text: A text.
        kinds: Kinds of `SECRET_KINDS`; others are passed over.

    Returns:
        The text and how many of each kind were replaced.
    """
    data = text.encode("utf-8", "replace")
    spans = _find(data, kinds)
    if not spans:
        return text, {}
    parts: list[bytes] = []
    done = 0
    counts: dict[PiiKind, int] = {}
    for start, end, kind in sorted(spans):
        parts += [data[done:start], placeholder(kind).encode()]
        counts[kind] = counts.get(kind, 0) + 1
        done = end
    return b"".join([*parts, data[done:]]).decode(), counts


def secret_starts(data: bytes) -> list[tuple[int, int]]:
    """Find all places, in bytes, where a secret may start that no @ tells of."""
    return [(start, end) for _, start, end in _automaton()[1].find_matches_as_indexes(data)]


def placeholder(kind: PiiKind) -> str:
    """Write what stands for a kind, such as <AWS_KEY>."""
    return "<PASSWORD>" if kind == "url_password" else f"<{kind.upper()}>"


def _find(data: bytes, kinds: Collection[PiiKind]) -> list[Span]:
    """Find what is to be masked, without overlap: of two kinds, the one with a form of its own."""
    forms, automaton = _automaton()
    sure: list[Span] = []
    likely: list[Span] = []
    done = 0  # past the last key block
    for index, start, end in automaton.find_matches_as_indexes(data):
        form = forms[index]
        if form is None:
            span = _key_block(data, start) if start >= done and "private_key" in kinds else None
            done = span[1] if span else done
        elif form.kind not in kinds or (
            start and not (form.named or form.before) and data[start - 1 : start].isalnum()
        ):
            continue
        else:
            span = _match(form, data, max(0, start - form.before), end)
        if span:
            (likely if span[2] == "credential" else sure).append(span)
    if "url_password" in kinds and b"@" in data:
        likely += _url_passwords(data)
    return _apart(sure + likely)


def _match(form: _Form, data: bytes, start: int, end: int) -> Span | None:
    if form.before:
        found = form.pattern.search(data, start, end + 64)
    else:
        found = form.pattern.match(data, start)
    if found is None:
        return None
    groups = found.groupdict()
    name = next((name for name in ("v", "u") if groups.get(name)), 0)
    return (*found.span(name), form.kind) if form.confirm(found[name]) else None


def _key_block(data: bytes, start: int) -> Span | None:
    head = _PEM_HEAD.match(data, start)
    if head is None:
        return None
    next_head = data.find(_PEM_START.encode(), head.end(), start + _MAX_PEM)
    limit = next_head if next_head >= 0 else start + _MAX_PEM
    tail = _PEM_TAIL.search(data, head.end(), limit) or _PEM_BODY.match(data, head.end(), limit)
    return (start, tail.end(), "private_key") if tail else None


def _url_passwords(data: bytes) -> list[Span]:
    spans: list[Span] = []
    at = data.find(b"@")
    while at >= 0:
        found = _URL_PASSWORD.search(data[max(0, at - _URL_HEAD) : at])
        if found and found["v"].lower() not in _NO_PASSWORD:
            spans.append((at - len(found["v"]), at, "url_password"))
        at = data.find(b"@", at + 1)
    return spans


def _apart(spans: list[Span]) -> list[Span]:
    """Keep spans that no earlier one of the list overlaps."""
    if len(spans) < 2:
        return spans
    kept: list[Span] = []
    taken: list[tuple[int, int]] = []
    for span in spans:
        at = bisect_left(taken, span[:2])
        free_before = at == 0 or taken[at - 1][1] <= span[0]
        if free_before and (at == len(taken) or span[1] <= taken[at][0]):
            insort(taken, span[:2])
            kept.append(span)
    return kept


@lru_cache(maxsize=1)
def _automaton() -> tuple[list[_Form | None], Any]:
    """Build the search for starts; beside it the form of each, None for a key block."""
    from ahocorasick_rs import BytesAhoCorasick

    starts: dict[str, _Form | None] = {_PEM_START: None}
    for form in _FORMS:
        starts |= dict.fromkeys(form.starts, form)
    return list(starts.values()), BytesAhoCorasick([s.encode() for s in starts])


SECRET_PLACEHOLDERS: dict[PiiKind, str] = {kind: placeholder(kind) for kind in SECRET_KINDS}
