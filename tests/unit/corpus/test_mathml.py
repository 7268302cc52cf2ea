r"""Formulas as the tools that write web pages leave them there."""

import pytest

from openseek.corpus.readers.html import html_to_text

KATEX = (
    '<span class="katex"><span class="katex-mathml">'
    '<math xmlns="http://www.w3.org/1998/Math/MathML">'
    "<semantics><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow>"
    '<annotation encoding="application/x-tex">x^2 &lt; y_{1}</annotation></semantics></math></span>'
    '<span class="katex-html" aria-hidden="true"><span class="base"><span class="mord">x2&lt;y1'
    "</span></span></span></span>"
)
MEDIAWIKI = (
    '<span class="mwe-math-element"><span class="mwe-math-mathml-inline" style="display: none;">'
    '<math alttext="{\\displaystyle E=mc^{2}}"><semantics>'
    "<mrow><mi>E</mi></mrow>"
    '<annotation encoding="application/x-tex">{\\displaystyle E=mc^{2}}</annotation></semantics>'
    '</math></span><img src="https://example.org/render/svg/9f" '
    'class="mwe-math-fallback-image-inline" alt="{\\displaystyle E=mc^{2}}"></span>'
)
MATHJAX2 = (
    '<span class="MathJax_Preview">[x]</span><span class="MathJax" id="MathJax-Element-1-Frame">'
    '<nobr><span class="math">√2</span></nobr><span class="MJX_Assistive_MathML">'
    "<math><msqrt><mn>2</mn></msqrt></math></span></span>"
    '<script type="math/tex" id="MathJax-Element-1">\\sqrt{2}</script>'
)
MATHJAX3 = (
    '<mjx-container class="MathJax" jax="CHTML" display="true"><mjx-math aria-hidden="true">'
    '<mjx-mi>a</mjx-mi></mjx-math><mjx-assistive-mml><math display="block">'
    "<mfrac><mi>a</mi><mi>b</mi></mfrac></math></mjx-assistive-mml></mjx-container>"
)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (KATEX, "$x^2 < y_{1}$"),
        (f'<span class="katex-display">{KATEX}</span>', "\n$$x^2 < y_{1}$$\n"),
        (MEDIAWIKI, "$E=mc^{2}$"),
        (MATHJAX2, "$\\sqrt{2}$"),
        (MATHJAX3, "\n$$\\frac{a}{b}$$\n"),
        (
            '<script type="math/tex; mode=display">\\begin{align}a&=b\\\\c&=d\\end{align}</script>',
            "\n$$\\begin{align}a&=b\\\\c&=d\\end{align}$$\n",
        ),
        (
            '<math alttext="\\alpha_{i}" class="ltx_Math" display="inline"><mi>α</mi></math>',
            "$\\alpha_{i}$",
        ),
        (
            '<img class="latex" alt="\\int_0^1 f" src="https://s0.wp.com/latex.php?latex=%5Cint">',
            "$\\int_0^1 f$",
        ),
        ('<img src="https://s0.wp.com/latex.php?latex=a%2Bb&bg=ffffff">', "$a+b$"),
        ("\\( a < b \\) and $$\\sum_{i} x_i$$", "\\( a < b \\) and $$\\sum_{i} x_i$$"),
        ("x<sup>2</sup> + a<sub>n</sub> at 10<sup>-9</sup>", "x^{2} + a_{n} at 10^{-9}"),
        ("the 1<sup>st</sup> word<sup>2</sup>", "the 1st word2"),
        ('<img class="photo" alt="a_b" src="x.png">', ""),
    ],
)
def test_a_formula_comes_out_once_as_latex(markup: str, text: str) -> None:
    page = f"<html><body><p>Let {markup} be.</p></body></html>"
    assert html_to_text(page).split() == f"Let {text} be.".split()
    if text.startswith("\n"):
        assert text in html_to_text(page)


@pytest.mark.parametrize(
    ("mathml", "latex"),
    [
        ("<mi>x</mi><mo>=</mo><mn>1</mn>", "x=1"),
        ("<mi>sin</mi><mo>&#x2061;</mo><mi>x</mi>", "\\sin x"),
        ("<mi>α</mi><mo>≤</mo><mi>β</mi>", "\\alpha\\le\\beta"),
        ("<mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mi>b</mi></mfrac>", "\\frac{a+1}{b}"),
        ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x_{i}^{2}"),
        (
            "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi>"
            "</munderover><msub><mi>x</mi><mi>i</mi></msub>",
            "\\sum_{i=1}^{n}x_{i}",
        ),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", "\\sqrt[3]{x}"),
        ("<mover><mi>v</mi><mo>→</mo></mover>", "\\vec{v}"),
        ("<mfenced><mi>a</mi><mi>b</mi></mfenced>", "\\left(a,b\\right)"),
        (
            "<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr>"
            "<mtr><mtd><mn>0</mn></mtd><mtd><mn>1</mn></mtd></mtr></mtable>",
            "\\begin{matrix} 1 & 0 \\\\ 0 & 1 \\end{matrix}",
        ),
        ("<mtext>if </mtext><mi>Re</mi>", "\\text{if}\\mathrm{Re}"),
    ],
)
def test_mathml_is_translated(mathml: str, latex: str) -> None:
    assert html_to_text(f"<p><math>{mathml}</math></p>") == f"${latex}$"
    prefixed = f"<math>{mathml}</math>".replace("</", "</m:").replace("<m", "<m:m")
    assert html_to_text(f"<p>{prefixed.replace('<m:m:', '<m:')}</p>") == f"${latex}$"


def test_empty_and_broken_formulas_do_no_harm() -> None:
    for markup in ("<math></math>", "<math><mfrac><mi>a</mi></mfrac></math>", "<math><mi></mi>",
                   "<math>x<b>y</b></math>", '<span class="katex">x</span>'):  # fmt: skip
        assert html_to_text(f"<p>a {markup} b</p>").startswith("a")
