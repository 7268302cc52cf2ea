"""Patterns that read a question off a sentence or a function, in English, Chinese and Python.

Each pattern keeps the sentence's grammar intact: the words of the question are the sentence's own,
in their own order, so that nothing has to be conjugated.
"""

from __future__ import annotations

import re

Pair = tuple[str, str]

_SPLIT_EN = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z0-9])|\n\s*\n|\n(?=\s*[-*•]\s)")
_SPLIT_ZH = re.compile(r"(?<=[。！？；])|\n+")
_PLAIN = re.compile(r"[A-Za-z ,.'-]+")
_SPACES = re.compile(r"\s+")
_SPACES_ZH = re.compile(
    r"(?<=[\u3400-\u9fff，。、；：！？])\s+|\s+(?=[\u3400-\u9fff，。、；：！？])"
)

_SUBJECT = r"(?P<x>(?:(?:The|An?)\s)?[A-Za-z][\w'+./-]*(?:\s[\w'+./-]+){0,5})"
_VAGUE = re.compile(
    r"^(?:this|that|these|those|it|they|he|she|there|here|which|what|who|such|one|we|you|i|as|if|when|"
    r"and|but|or|so|the (?:following|above|former|latter|result|same|first|second|other|only)|"
    r"its|their|his|her|another|each|some|many|most|all|both|note|for|in|on|by|at|to|of|with)\b",
    re.I,
)
_VERBS = {
    "provides": "provide", "returns": "return", "contains": "contain", "allows": "allow",
    "supports": "support", "requires": "require", "uses": "use", "creates": "create",
    "specifies": "specify", "describes": "describe", "defines": "define", "means": "mean",
    "represents": "represent", "controls": "control", "performs": "perform", "computes": "compute",
    "consists of": "consist of", "depends on": "depend on", "refers to": "refer to",
}  # fmt: skip
_IS = re.compile(rf"^{_SUBJECT}\s(?P<v>is|are|was|were)\s(?P<y>(?:an?|the|one of)\s.{{12,}})")
_BY = re.compile(
    rf"^{_SUBJECT}\s(?P<v>is|are|was|were|has been|have been)\s(?P<p>\w+(?:ed|en|wn))"
    r"\sby\s(?P<y>.+)"
)
_DOES = re.compile(rf"^{_SUBJECT}\s(?P<v>{'|'.join(_VERBS)})\s(?P<y>.{{12,}})")
_WHY = re.compile(r"^(?P<x>[A-Z].{15,160}?),?\sbecause\s(?P<y>.{10,})")
_HOW = re.compile(r"^To\s(?P<x>[a-z][^,]{8,90}),\s(?P<y>.{15,})")
_IF = re.compile(r"^(?P<w>If|When)\s(?P<x>[^,]{10,120}),\s(?:then\s)?(?P<y>.{15,})")

_ZH_VAGUE = re.compile(
    r"^(?:这|那|它|他|她|我|你|此|其|但|而|也|就|都|还|又|不|并|如|该|本|最|有|没|只|所|更|特别|尤其)"
)
_ZH_IS = re.compile(
    r"^(?P<x>[^，。；：、“”（）\s]{2,14}?)(?P<v>是指|指的是|是|称为|叫做)(?P<y>[^。]{8,})"
)
_ZH_WHY = re.compile(r"^(?:因为|由于)(?P<x>[^。]{4,60}?)，(?:所以|因此|故)?(?P<y>[^。]{6,})")
_ZH_IF = re.compile(r"^(?:如果|假如|若|当)(?P<x>[^，。]{4,50})，(?:那么|则|就)?(?P<y>[^。]{6,})")
_ZH_HOW = re.compile(r"^(?:为了|要想|要)(?P<x>[^，。]{4,40})，(?P<y>[^。]{8,})")
_ZH_BY = re.compile(
    r"^(?P<x>[^，。；：“”\s]{2,16})由(?P<y>[^，。]{2,30}?)(?P<v>组成|构成|提供|发起|负责|管理|开发|编写)"
)

_DEF = re.compile(
    r'^(?P<indent>[ ]*)def (?P<name>[A-Za-z]\w*)\((?P<args>[^()]*(?:\([^()]*\)[^()]*)*)\)[^\n:]*:\n'
    r'\s+[rR]?(?P<q>"""|\'\'\')(?P<doc>.+?)(?P=q)', re.M | re.S,
)  # fmt: skip
_BLOCK_LINES = 60


def sentences(text: str, lang: str) -> list[str]:
    """Split prose into sentences, white space squeezed."""
    if lang == "zh":
        parts = (_SPACES_ZH.sub("", p).strip() for p in _SPLIT_ZH.split(text))
    else:
        parts = (_SPACES.sub(" ", p).strip() for p in _SPLIT_EN.split(text))
    return [p for p in parts if len(p) > 3]


def is_prose(sentence: str, lang: str) -> bool:
    """Tell whether this is one whole sentence of words, not a heading, list item or code."""
    if lang == "zh":
        han = sum("\u3400" <= c <= "\u9fff" for c in sentence)
        return 12 <= len(sentence) <= 160 and sentence[-1] in "。！？" and han > 0.6 * len(sentence)
    if not (40 <= len(sentence) <= 400 and sentence[-1] in ".!?" and sentence[0].isupper()):
        return False
    plain = len(_PLAIN.sub("", sentence))
    return len(sentence) - plain > 0.93 * len(sentence)


def sentence_pairs(text: str, lang: str) -> list[Pair]:
    """Read questions off the sentences of a text, in their order."""
    ask = _ask_zh if lang == "zh" else _ask_en
    low, high = (14, 200) if lang == "zh" else (40, 400)
    return [
        pair
        for sentence in sentences(text, lang)
        if low <= len(sentence) <= high and sentence[-1] in ".。!！" and (pair := ask(sentence))
    ]


def _ask_en(s: str) -> Pair | None:
    if m := _HOW.match(s):
        return f"How do you {m['x']}?", s
    if m := _IF.match(s):
        return f"What happens {m['w'].lower()} {m['x']}?", s
    if m := _WHY.match(s):
        return None if _VAGUE.match(s) else (f"Why is it that {_lower(m['x'])}?", s)
    if _VAGUE.match(s):
        return None
    if m := _BY.match(s):
        return f"By whom or by what {m['v']} {_lower(m['x'])} {m['p']}?".replace(
            "has been", "was"
        ).replace("have been", "were"), s
    if m := _IS.match(s):
        return f"What {m['v']} {_lower(m['x'])}?", s
    if (m := _DOES.match(s)) and not re.search(r"\b(?:is|are|was|that|which)\b", m["x"]):
        return f"What does {_lower(m['x'])} {_VERBS[m['v']]}?", s
    return None


def _ask_zh(s: str) -> Pair | None:
    if m := _ZH_WHY.match(s):
        return f"为什么{m['y'].rstrip('。！')}？", s
    if m := _ZH_IF.match(s):
        return f"如果{m['x']}，会怎么样？", s
    if m := _ZH_HOW.match(s):
        return f"怎样才能{m['x']}？", s
    if _ZH_VAGUE.match(s):
        return None
    if m := _ZH_BY.match(s):
        return f"{m['x']}由什么{m['v']}？" if m["v"] in "组成构成" else f"{m['x']}由谁{m['v']}？", s
    if (m := _ZH_IS.match(s)) and not m["x"].endswith(
        ("不", "就", "都", "也", "还", "正", "才", "只")
    ):
        return f"什么是{m['x']}？", s
    return None


def _lower(subject: str) -> str:
    """Lower the article or the common word that began the sentence; names keep their capital."""
    first, _, rest = subject.partition(" ")
    if first in ("The", "A", "An", "Each", "Every"):
        return f"{first.lower()} {rest}"
    return subject


def code_pairs(text: str) -> list[Pair]:
    """Pair the docstring of each Python function with its code, in their order."""
    found = []
    for m in _DEF.finditer(text):
        summary = _SPACES.sub(" ", m["doc"].strip().split("\n\n")[0]).strip()
        body = _body(text, m.end(), len(m["indent"]))
        if not 20 <= len(summary) <= 400 or not body.strip():
            continue
        args = _SPACES.sub(" ", m["args"]).strip().rstrip(",")
        if args.startswith(("self", "cls")):
            continue  # a method without its class does not stand alone
        question = f"Write a Python function `{m['name']}({args})` for this description: {summary}"
        lines = [f"def {m['name']}({args}):", *body.rstrip().split("\n")]
        found.append((question, "\n".join(lines)))
    return found


def _body(text: str, at: int, indent: int) -> str:
    """Return the lines after a docstring that belong to its function, moved to the left margin."""
    lines = []
    for line in text[at:].split("\n")[1:]:
        if line.strip() and len(line) - len(line.lstrip(" ")) <= indent:
            break
        lines.append(line[indent:] if line.strip() else "")
        if len(lines) > _BLOCK_LINES:
            return ""  # too long for one answer, and cut code is wrong code
    return "\n".join(lines)
