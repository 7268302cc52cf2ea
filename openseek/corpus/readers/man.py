"""Manual pages (roff, macro packages man and mdoc) to running text.

Enough of roff for prose: fonts and sizes go, headings and paragraphs stay, drawing, conditions and
macro definitions are left out. Source: groff_man(7), groff_mdoc(7), groff_char(7).
"""

from __future__ import annotations

import re
import shlex

_CHARS = {
    "aq": "'", "dq": '"', "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "em": "—", "en": "–",
    "hy": "-", "bu": "•", "co": "©", "rg": "®", "tm": "™", "mu": "×", "->": "→", "<-": "←",
    ">=": "≥", "<=": "≤", "+-": "±", "ha": "^", "ti": "~", "rs": "\\", "ga": "`", "aa": "´",
    "ba": "|", "sc": "§", "de": "°", "*": "*", "R": "®",
}  # fmt: skip
_ESCAPE = re.compile(
    r"\\(?:f(?:\[[^\]]*\]|\(..|.)|s(?:[-+]?\d+|\[[^\]]*\])|\[([^\]]*)\]|\((..)|\*(?:\[([^\]]*)\]|\((..)|(.))"
    r"|[vhwlLDoNZ]'[^']*'|[kmMnF](?:\[[^\]]*\]|\(..|.)|([\s\S]))"
)
_SIMPLE = {
    "-": "-",
    "e": "\\",
    "\\": "\\",
    "'": "´",
    "`": "`",
    " ": " ",
    "~": " ",
    "0": " ",
    ".": ".",
    "t": "\t",
}
_HEADING = {"SH", "SS", "Sh", "Ss"}
_BREAK = {
    "PP", "P", "LP", "sp", "Pp", "RS", "RE", "br", "TP", "HP", "IP", "TQ", "It", "Bl", "El", "Bd",
    "Ed", "Nd", "UR", "SY",
}  # fmt: skip
_INLINE = {
    "B", "I", "R", "BR", "RB", "BI", "IB", "IR", "RI", "SM", "SB", "UE", "MT", "ME", "OP", "ft",
}  # fmt: skip
_QUIET = {"TH", "Dd", "Dt", "Os", "AT", "PD", "DT", "UC", "TE"}
_CJK = re.compile(r"[\u2e80-\u9fff\uff00-\uffef]")


def man_to_text(source: str) -> str:
    """Convert a manual page.

    Args:
        source: roff text.
    """
    page = _Page()
    lines = iter(source.replace("\\\n", "").split("\n"))
    for line in lines:
        if line.startswith((".", "'")):
            _request(page, line[1:].strip(), lines)
        elif page.verbatim:
            page.out.append(_unescape(line))
        elif line.strip():
            page.words(_unescape(line.strip()))
        else:
            page.paragraph()
    page.flush()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(page.out)).strip()


class _Page:
    """The text so far: finished lines, and the words of the paragraph being filled."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.filling: list[str] = []
        self.verbatim = False

    def words(self, text: str) -> None:
        if self.verbatim:
            self.out.append(text)
        elif text := re.sub(r"\s+", " ", text).strip():
            self.filling.append(text)

    def flush(self) -> None:
        line = ""
        for part in self.filling:
            glued = line and _CJK.match(line[-1]) and _CJK.match(part[0])
            line += part if not line or glued else " " + part
        if line:
            self.out.append(line)
        self.filling = []

    def paragraph(self) -> None:
        self.flush()
        self.out.append("")


def _request(page: _Page, line: str, lines: object) -> None:
    name, _, rest = line.partition(" ")
    args = _arguments(rest)
    if name in ("de", "de1", "ig", "am", "TS", "EQ"):
        ends = {"TS": ".TE", "EQ": ".EN"}.get(name, "..")
        for skipped in lines:  # type: ignore[attr-defined]
            if skipped.startswith(ends):
                return
    elif name in ("nf", "fi", "EX", "EE"):
        page.flush()
        page.verbatim = name in ("nf", "EX")
    elif name in _HEADING:
        page.paragraph()
        page.out.append(" ".join(args))
        page.verbatim = False
    elif name in _BREAK:
        page.flush()
        if name in ("PP", "P", "LP", "sp", "Pp", "TP", "IP", "It", "HP"):
            page.out.append("")
        page.words(
            " ".join(a for a in args if not re.fullmatch(r"-?[\d.]+[a-z]?|-\w+|\w{1,2}", a))
            if name != "TP"
            else ""
        )
    elif name in _INLINE:
        page.words(
            ("" if len(name) == 2 and name not in ("SM", "SB", "OP", "ft") else " ").join(args)
        )
    elif (
        name not in _QUIET
        and not name.startswith(("\\", '"'))
        and re.fullmatch(r"[A-Z][a-z]", name)
    ):
        page.words(" ".join(args))  # mdoc: the arguments of an inline macro are its text


def _arguments(rest: str) -> list[str]:
    rest = re.sub(r'\\".*$', "", rest).strip()
    if '"' not in rest:
        return [_unescape(a) for a in re.split(r"(?<!\\)\s+", rest) if a]
    try:
        lexer = shlex.shlex(rest, posix=True)
        lexer.whitespace_split, lexer.quotes, lexer.escape, lexer.commenters = True, '"', "", ""
        return [_unescape(a) for a in lexer if a]
    except ValueError:
        return [_unescape(rest.replace('"', ""))]


def _unescape(text: str) -> str:
    text = re.sub(r'\\".*$', "", text)

    def replace(match: re.Match[str]) -> str:
        named = (
            match.group(1) or match.group(2) or match.group(3) or match.group(4) or match.group(5)
        )
        if named:
            if re.fullmatch(r"u[0-9A-Fa-f]{4,6}", named):
                return chr(int(named[1:], 16))
            return _CHARS.get(named, "")
        return _SIMPLE.get(match.group(6) or "", "")

    return _ESCAPE.sub(replace, text)
