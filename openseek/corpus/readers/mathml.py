r"""Mathematics in web pages, as LaTeX: `$…$` in a line, `$$…$$` set apart.

A page holds the same formula up to three times: as its author wrote it, as MathML for screen
readers, and as boxes for the eye. The author's LaTeX is kept where it is there, else the MathML is
translated, and the rendered copies go. Shapes: KaTeX, MathJax 2 and 3, MediaWiki, LaTeXML (arXiv),
WordPress, plain MathML (MathML Core, W3C 2023). `\( … \)` in the text stays as it is.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

_SIGNS = (
    "<math", ":math", "math/tex", "katex", "MathJax", "mjx-", "latex", '"tex', "/tex", "mwe-math",
    "equation", "<sup", "<sub", "<SUP", "<SUB",
)  # fmt: skip
_OWN = "local-name()='math' or substring-after(local-name(), ':')='math'"
_DISPLAY_STYLE = re.compile(r"^\{\\(?:display|text)style\s*(.*)\}$", re.DOTALL)
_COMMENT = re.compile(r"(?<!\\)%[^\n]*\n")
_IMAGE = re.compile(
    r"(?:^|[ _-])(?:latex|tex|math|equation|mwe-math-fallback-image)(?:$|[ _-])", re.IGNORECASE
)
_LATEX = re.compile(r"[\\^_{}]|\$")
_POWER = re.compile(r"[−+-]?(?:[0-9]{1,3}|[a-zA-Z])")
_BASE = re.compile(r"(?:(?<![A-Za-z])[A-Za-z]|(?<![0-9])10|[)\]])$")

_COMMANDS = r"""
α alpha  β beta  γ gamma  δ delta  ε epsilon  ζ zeta  η eta  θ theta  ι iota  κ kappa
λ lambda  μ mu  ν nu  ξ xi  π pi  ρ rho  σ sigma  τ tau  υ upsilon  φ phi  χ chi  ψ psi
ω omega  Γ Gamma  Δ Delta  Θ Theta  Λ Lambda  Ξ Xi  Π Pi  Σ Sigma  Φ Phi  Ψ Psi  Ω Omega
ϵ epsilon  ϕ phi  ∑ sum  ∏ prod  ∫ int  ∬ iint  ∮ oint  ∞ infty  ∂ partial  ∇ nabla  ± pm
∓ mp  × times  ÷ div  ⋅ cdot  · cdot  ∗ ast  ∘ circ  ≤ le  ≥ ge  ≠ ne  ≈ approx  ≡ equiv
∼ sim  ≃ simeq  ≅ cong  ∝ propto  ∈ in  ∉ notin  ∋ ni  ⊂ subset  ⊆ subseteq  ⊃ supset
⊇ supseteq  ∪ cup  ∩ cap  ∅ emptyset  ∖ setminus  ∀ forall  ∃ exists  ¬ neg  ∧ wedge  ∨ vee
→ to  ← leftarrow  ↔ leftrightarrow  ⇒ Rightarrow  ⇐ Leftarrow  ⇔ Leftrightarrow  ↦ mapsto
⟨ langle  ⟩ rangle  ⌊ lfloor  ⌋ rfloor  ⌈ lceil  ⌉ rceil  ‖ |  … ldots  ⋯ cdots  ⋮ vdots
⋱ ddots  ′ prime  ℝ mathbb{R}  ℂ mathbb{C}  ℕ mathbb{N}  ℤ mathbb{Z}  ℚ mathbb{Q}  ⊕ oplus
⊗ otimes  ⊥ perp  ∥ parallel  ∠ angle  † dagger  √ surd
"""
_SYMBOLS = dict(zip(_COMMANDS.split()[::2], _COMMANDS.split()[1::2], strict=True))
_INVISIBLE = "\u2061\u2062\u2063\u2064"
_FUNCTIONS = """
sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan log ln exp lim sup inf max min det dim
ker gcd arg deg hom Pr limsup liminf
"""
_NAMES = frozenset(_FUNCTIONS.split())
_ACCENTS = {
    "^": "hat", "ˆ": "hat", "~": "tilde", "˜": "tilde", "¯": "overline", "‾": "overline",
    "→": "vec", "\u20d7": "vec", "˙": "dot", ".": "dot", "¨": "ddot", "⏞": "overbrace",
}  # fmt: skip


def keep_math(root: Any, markup: str) -> None:
    """Put LaTeX in place of each formula of a parsed page.

    Args:
        root: The page's root element; it is changed.
        markup: The page, to see quickly that it has no formula.
    """
    if not any(sign in markup for sign in _SIGNS):
        return
    for node in _by_class(root, "katex"):
        if (tex := _annotation(node)) is not None:
            _become(node, tex, display=_has_class(node.getparent(), "katex-display"))
    _mathjax(root)
    for node in _by_class(root, "mwe-math-element"):
        if (math := _first_math(node)) is not None:
            block = bool(_by_class(node, "mwe-math-mathml-display"))
            _become(node, _of_math(math), display=block)
    for node in root.xpath(f"//*[{_OWN}]"):
        display = node.get("display") == "block" or node.get("mode") == "display"
        _become(node, _of_math(node), display=display)
    for node in list(root.iter("img")):
        _image(node)
    for node in list(root.iter("sup", "sub")):
        _script(node)


def _mathjax(root: Any) -> None:
    for node in list(root.iter("mjx-container")):
        math = _first_math(node)
        if math is not None:
            _become(node, _of_math(math), display=node.get("display") == "true")
    for name in ("MathJax_Preview", "MathJax_Display", "MathJax", "MathJax_SVG", "MathJax_CHTML"):
        for node in _by_class(root, name):
            beside = node.getnext()
            source = beside is not None and beside.tag == "script"
            math = None if source or name == "MathJax_Preview" else _first_math(node)
            if math is None:
                node.tag = "nav"  # navigation is left out of a page's text
            else:
                _become(node, _of_math(math), display=name == "MathJax_Display")
    for node in list(root.iter("script")):
        kind = node.get("type", "")
        if kind.startswith("math/tex"):
            _become(node, node.text or "", display="mode=display" in kind)


def _become(node: Any, tex: str, *, display: bool) -> None:
    """Turn an element into its formula; one without content goes."""
    tail = node.tail
    tex = _tidy(tex)
    for child in list(node):
        node.remove(child)
    node.attrib.clear()
    node.tag = "div" if display and tex else "span"
    node.text = (f"$${tex}$$" if display else f"${tex}$") if tex else ""
    node.tail = tail


def _tidy(tex: str) -> str:
    tex = _COMMENT.sub("\n", tex.strip().strip("\u200b")).strip()
    if styled := _DISPLAY_STYLE.match(tex):
        tex = styled[1].strip()
    for start, end in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if len(tex) > len(start + end) and tex.startswith(start) and tex.endswith(end):
            return tex[len(start) : -len(end)].strip()
    return tex


def _by_class(root: Any, name: str) -> list[Any]:
    found = root.xpath(f"descendant::*[contains(concat(' ', @class, ' '), ' {name} ')]")
    return list(found)


def _has_class(node: Any, name: str) -> bool:
    return node is not None and name in node.get("class", "").split()


def _first_math(node: Any) -> Any:
    return next(iter(node.xpath(f"descendant-or-self::*[{_OWN}]")), None)


def _annotation(node: Any) -> str | None:
    for found in node.iter("annotation", "m:annotation", "mml:annotation"):
        if "tex" in found.get("encoding", "").lower():
            return "".join(found.itertext())
    return None


def _of_math(math: Any) -> str:
    written = _annotation(math)
    return written if written is not None else math.get("alttext") or to_latex(math)


def _image(node: Any) -> None:
    """Take the LaTeX of a formula's picture from its `alt`, or from the address that drew it."""
    address = node.get("src", "")
    query = urlsplit(address).query if "latex" in address or "tex" in address else ""
    drawn = bool(query) and ("latex.php" in address or "/tex" in address or "codecogs" in address)
    if not drawn and not _IMAGE.search(node.get("class", "")):
        return
    tex = node.get("alt", "")
    if drawn and not tex:
        tex = parse_qs(query).get("latex", [query])[0]
    if drawn or _LATEX.search(tex):
        _become(node, tex, display=False)


def _script(node: Any) -> None:
    """Write a power or an index of a single letter, of ten or of a bracket as `^{…}` and `_{…}`."""
    content = "".join(node.itertext()).strip()
    before = node.getprevious()
    left = (before.tail if before is not None else node.getparent().text) or ""
    if not left and before is not None:
        left = "".join(before.itertext())
    if _POWER.fullmatch(content) and _BASE.search(left.rstrip("\n")):
        sign = "^" if node.tag == "sup" else "_"
        tail = node.tail
        for child in list(node):
            node.remove(child)
        node.text, node.tail = f"{sign}{{{content}}}", tail


def to_latex(node: Any) -> str:
    """Translate an element of MathML and what is in it."""
    kind = str(node.tag).rpartition(":")[2].rpartition("}")[2]
    text = (node.text or "").strip()
    if kind in ("mi", "mo", "mn"):
        return _leaf(kind, text)
    if kind in ("mtext", "ms"):
        return f"\\text{{{text}}}" if text else ""
    if kind in ("annotation", "annotation-xml", "mspace", "maligngroup"):
        return " " if kind == "mspace" else ""
    parts = [to_latex(child) for child in node if isinstance(child.tag, str)]
    rule = _TWO_PARTS.get(kind) if len(parts) == 2 else _THREE_PARTS.get(kind)
    if rule is not None and len(parts) in (2, 3):
        return _accented(kind, parts) or rule.format(*parts)
    if kind == "msqrt":
        return f"\\sqrt{{{_joined(parts)}}}"
    if kind == "mfenced":
        inner = node.get("separators", ",")[:1].join(parts)
        return f"\\left{node.get('open', '(')}{inner}\\right{node.get('close', ')')}"
    if kind == "mtable":
        rows = " \\\\ ".join(parts)
        return f"\\begin{{matrix}} {rows} \\end{{matrix}}"
    if kind == "mtr":
        return " & ".join(parts)
    return _joined(parts) if parts else text


_TWO_PARTS = {
    "mfrac": "\\frac{{{0}}}{{{1}}}",
    "mroot": "\\sqrt[{1}]{{{0}}}",
    "msup": "{0}^{{{1}}}",
    "msub": "{0}_{{{1}}}",
    "mover": "\\overset{{{1}}}{{{0}}}",
    "munder": "{0}_{{{1}}}",
}
_THREE_PARTS = {"msubsup": "{0}_{{{1}}}^{{{2}}}", "munderover": "{0}_{{{1}}}^{{{2}}}"}


def _accented(kind: str, parts: list[str]) -> str:
    accent = _ACCENTS.get(parts[1].strip()) or ("vec" if parts[1].strip() == "\\to" else None)
    return f"\\{accent}{{{parts[0]}}}" if kind == "mover" and accent else ""


def _leaf(kind: str, text: str) -> str:
    text = "".join(c for c in text if c not in _INVISIBLE)
    if kind == "mo" and text in ("{", "}"):
        return "\\" + text
    if text in _NAMES:
        return f"\\{text}"
    if kind == "mi" and len(text) > 1 and text.isascii() and text.isalpha():
        return f"\\mathrm{{{text}}}"
    return "".join(f"\\{_SYMBOLS[c]}" if c in _SYMBOLS else c for c in text)


def _joined(parts: list[str]) -> str:
    """Join parts; a command needs a space before a letter."""
    out = ""
    for part in parts:
        gap = " " if re.search(r"\\[A-Za-z]+$", out) and part[:1].isalpha() else ""
        out += gap + part
    return out
