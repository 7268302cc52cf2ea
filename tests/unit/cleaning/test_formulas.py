import unicodedata

import pytest

from openseek.cleaning import Cleaner, clean_text, normalise
from openseek.cleaning.formulas import is_mathematical
from openseek.config.cleaning import CleaningConfig, MathConfig, NormaliseConfig

CONFIG = MathConfig()
ALIGNED = r"""We show that the sum is bounded.

\begin{align}
S_n &= \sum_{i=1}^{n} x_{i}^{2} \\
    &\le \int_0^1 f(t)\,dt \\
    &= \frac{a}{b} \cdot \sqrt{c}
\end{align}

x = 1

y = 2

# of roots: 3

Hence $\alpha_{i} \in \mathbb{R}$ for each $i$, and \(\lim_{n \to \infty} S_n = 0\).
"""
SYMBOLS = (
    "∀ε > 0 ∃δ > 0: |x − a| < δ ⇒ |f(x) − f(a)| < ε, ∑ x ≤ ∫ f ∈ ℝ, A ⊂ B ∪ C ∩ D, 𝑥 ∈ 𝐀.\n" * 4
)
PLAIN = [
    "C:\\Users\\name\\Documents\\new\\table\\list.txt " * 20,
    'printf("\\n\\t\\r%d\\n", x); struct { int a; } b = { 1 }; ' * 20,
    "A long text in English about nothing at all, which has no formula in it. " * 20,
    "中文的文章，没有公式，也没有符号。" * 40,
    "It costs $5 and $10, or {a} and {b}. " * 20,
    "",
    "\\frac{1}{2}",
]


def test_pages_of_formulas_are_told_from_others() -> None:
    assert is_mathematical(ALIGNED, CONFIG)
    assert is_mathematical(SYMBOLS, CONFIG)
    assert not any(is_mathematical(text, CONFIG) for text in PLAIN)
    assert not is_mathematical(ALIGNED, MathConfig(enabled=False))


@pytest.mark.parametrize("category", ["math", "foundation", "cot"])
@pytest.mark.parametrize("preset", ["standard", "cci4"])
def test_formulas_cost_a_page_nothing(category: str, preset: str) -> None:
    text = ALIGNED + "\nprivacy policy\n\n" + SYMBOLS
    result = clean_text(text, "en", category, CleaningConfig(preset=preset))
    assert (result.reason, result.text) == ("", text)
    strict = CleaningConfig(
        preset=preset,
        math={"enabled": False},
        blocks={"c4": {"categories": ["foundation", "cot"], "thresholds": {"braces": {"max": 0}}}},
    )
    judged = clean_text(text, "en", category, strict)
    assert bool(judged.reason) == ("c4.braces" in judged.failed) == (category != "math")
    strict = strict.model_copy(update={"math": MathConfig()})
    assert clean_text(text, "en", category, strict).reason == ""


def test_only_the_pages_with_formulas_are_treated_so() -> None:
    prose = "This page says something, and it has a privacy policy.\nPrivacy policy\n" + PLAIN[2]
    results = Cleaner(CleaningConfig()).clean(
        [ALIGNED, prose, ALIGNED], ["en"] * 3, ["foundation"] * 3
    )
    assert [bool(r.reason) for r in results] == [False, True, False]
    assert "Privacy" not in results[1].text


@pytest.mark.parametrize("text", [SYMBOLS, "𝔸𝕓𝒞 ℵ₀ ℏ ∰ x̄ ⟨u, v⟩ ‖a‖ ½ x² ² ₂ ﬁ ℝ ⨁ ⟦a⟧"])
def test_mathematical_letters_stay_as_they_are(text: str) -> None:
    assert normalise(text, NormaliseConfig(width=True)) == (text, ())


def test_angle_brackets_do_not_become_chinese_quotation_marks() -> None:
    assert unicodedata.normalize("NFC", "\u2329u\u232a") == "〈u〉"
    assert normalise("\u2329u\u232a", NormaliseConfig())[0] == "⟨u⟩"
