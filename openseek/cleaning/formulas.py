r"""Tell pages that are full of mathematics, which the rules for prose would drop.

What is counted only occurs in formulas: LaTeX commands of mathematics, `^{` and `_{`, and Unicode's
mathematical operators and letters. A Windows path, an escape of C or a `$` counts nothing.
"""

from __future__ import annotations

import re

from openseek.config.cleaning import MathConfig

_HEAD_CHARS = 4000  # a page's beginning tells what it is about
_COMMANDS = """
frac dfrac tfrac binom sqrt sum prod int iint iiint oint lim sup inf max min log ln exp sin cos tan
cdot cdots ldots vdots ddots times div pm mp le leq ge geq ne neq equiv approx sim simeq cong propto
in notin subset subseteq supset cup cap setminus emptyset forall exists neg land lor to mapsto
rightarrow leftarrow Rightarrow Leftrightarrow implies iff infty partial nabla langle rangle lfloor
rfloor lceil rceil mathbb mathbf mathcal mathrm mathfrak operatorname overline underline widehat
hat tilde vec dot ddot bar boldsymbol displaystyle left right bigl bigr alpha beta gamma delta
epsilon varepsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi varphi chi psi omega
Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega
"""
_ENVIRONMENTS = "(?:equation|align|gather|multline|split|cases|array|[bpvBV]?matrix|aligned)"
_FORMULA = re.compile(
    rf"\\(?:(?:{'|'.join(_COMMANDS.split())})(?![A-Za-z])|begin\{{{_ENVIRONMENTS}\*?\}})|[\^_]\{{"
)
_SYMBOL = re.compile("[\u2200-\u22ff\u27c0-\u27ef\u2980-\u2aff\U0001d400-\U0001d7ff]")


def is_mathematical(text: str, config: MathConfig, *, symbols: bool = True) -> bool:
    """Tell a text with many formulas.

    Args:
        text: A text; its first 4,000 characters are looked at.
        config: How many marks of formulas a text of its length must have.
        symbols: Whether it may have operators or letters of mathematics.
    """
    if not config.enabled:
        return False
    head = text[:_HEAD_CHARS]
    needed = max(config.min_marks, config.marks_per_1000_chars * len(head) / 1000)
    # Two searches for a character, so that most texts cost no more than that.
    possible = head.count("\\") + head.count("{")
    marks = len(_SYMBOL.findall(head)) if symbols and not head.isascii() else 0
    if possible + marks < needed:
        return False
    return marks + sum(1 for _ in _FORMULA.finditer(head)) >= needed
