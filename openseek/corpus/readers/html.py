"""HTML to running text: what a reader sees, without navigation.

Blocks become lines, paragraphs are set apart by a blank line, `pre` keeps its spaces, table cells
are parted by tabs, formulas are LaTeX (`openseek.corpus.readers.mathml`). Marks (Unicode
noncharacters, which are no text) are put around blocks, so that the tree is flattened and its
white space mended in a few passes over the whole text.
Source of the block list: HTML Living Standard §15.3 (rendering).
"""

from __future__ import annotations

import functools
import re
from typing import Any

from openseek.corpus.readers.mathml import keep_math

_SKIP = (
    "script", "style", "head", "nav", "noscript", "template", "svg", "object", "iframe", "form",
    "button", "select", "footer",
)  # fmt: skip
_PARAGRAPH = (
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "table", "ul", "ol", "dl", "blockquote",
    "section", "article", "figure", "hr",
)  # fmt: skip
_LINE = ("div", "li", "dt", "dd", "tr", "caption", "main", "header", "aside", "address")
_PAR, _BR, _CELL, _SPACE, _NEWLINE = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3", "\ufdd4"
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\ufdd0-\ufdef]")
_BLANKS = re.compile(r"[ \t\r\n\f\xa0]+")
_MARKS = re.compile(f"[ {_PAR}{_BR}{_CELL}]*[{_PAR}{_BR}][ {_PAR}{_BR}{_CELL}]*")
_CHARSET = re.compile(rb"""charset\s*=\s*["']?([A-Za-z0-9_-]+)""", re.IGNORECASE)
_CJK = r"[\u2e80-\u9fff\uff00-\uffef]"
_CJK_BREAK = re.compile(f"(?<={_CJK})[ \t]*\r?\n[ \t]*(?={_CJK})")


def html_charset(data: bytes, default: str) -> str:
    """Return the encoding that an HTML file names in its first 2,048 bytes, or the default."""
    found = _CHARSET.search(data[:2048])
    return found.group(1).decode("ascii") if found else default


def html_to_text(markup: str, skip: tuple[str, ...] = ()) -> str:
    """Extract the text of an HTML document.

    Args:
        markup: The document.
        skip: Class or id names of elements to leave out.
    """
    from lxml import etree

    body = re.sub(r"^\s*<\?xml[^>]*\?>", "", _CONTROL.sub("", markup))
    try:
        root = etree.HTML(body)
    except (etree.ParserError, etree.XMLSyntaxError):
        return ""
    if root is None:
        return ""
    keep_math(root, markup)
    for node in _boilerplate(tuple(n for n in skip if n in markup))(root):
        node.tag = "nav"
    etree.strip_elements(root, *_SKIP, etree.Comment, etree.PI, with_tail=False)
    for node in root.iter("pre", "textarea"):
        _protect(node)
    _mark(root)
    return _clean("".join(root.itertext()))


@functools.lru_cache(maxsize=64)
def _boilerplate(skip: tuple[str, ...]) -> Any:
    """Compile a search for what is hidden, navigation or in `skip`; in XPath, for its speed."""
    from lxml import etree

    tests = ["@hidden", "@role='navigation'"]
    for name in skip:
        quoted = f'"{name}"' if "'" in name else f"'{name}'"
        tests += [
            f"@id={quoted}",
            f"contains(concat(' ', @class, ' '), concat(' ', {quoted}, ' '))",
        ]
    return etree.XPath(f"descendant::*[{' or '.join(tests)}]")


def _protect(pre: Any) -> None:
    """Hide the white space inside `pre` from the collapsing of white space."""
    for node in pre.iter():
        node.text = (node.text or "").replace(" ", _SPACE).replace("\n", _NEWLINE)
        if node is not pre:
            node.tail = (node.tail or "").replace(" ", _SPACE).replace("\n", _NEWLINE)


def _mark(root: Any) -> None:
    for tags, mark in ((_PARAGRAPH, _PAR), (_LINE, _BR)):
        for node in root.iter(*tags):
            node.text = mark + (node.text or "")
            node.tail = mark + (node.tail or "")
    for node in root.iter("td", "th"):
        node.tail = _CELL + (node.tail or "")
    for node in root.iter("br"):
        node.tail = _BR + (node.tail or "")


def _clean(text: str) -> str:
    text = _BLANKS.sub(" ", _CJK_BREAK.sub("", text)).replace("\u00ad", "")
    text = _MARKS.sub(lambda m: "\n\n" if _PAR in m.group() else "\n", text)
    text = re.sub(f" ?{_CELL} ?", "\t", text).replace(_SPACE, " ").replace(_NEWLINE, "\n")
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n ")
