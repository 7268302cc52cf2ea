"""RL translation: a passage of a document with a reference, English to Chinese or back.

The row keeps {query, answer}: the answer is the teacher's translation, checked for its script and
length and, translated back, for what it kept of the passage.
"""

from __future__ import annotations

import re

from openseek.config.recipes import RecipeConfig
from openseek.synthesis.recipes.agreement import overlap
from openseek.synthesis.recipes.wording import need, plain, prompt
from openseek.synthesis.retrieval import cut_passages
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker, RowFailure

NAME = "rl_translation"
VERSION = 1
GIVES = "documents"

_CHARS = {"en": 600, "zh": 240}  # of a passage: a Chinese character is about 2.5 letters
_MIN_BACK = 0.2  # of the passage's words; two translations of the same text share far more
_SYSTEM = {
    "en": "You translate faithfully between English and Chinese. You output the translation alone.",
    "zh": "你在中文和英文之间忠实地翻译。你只输出译文。",
}
_USER = {
    "en": "Translate this passage into Simplified Chinese. Keep names, numbers, formulas and code."
    "\n\n<<<\n{passage}\n>>>",
    "zh": "请把下面的文字翻译成英文。名称、数字、公式和代码保持准确。\n\n<<<\n{passage}\n>>>",
}
_TASK = {
    "en": "Translate into Simplified Chinese:\n\n{}",
    "zh": "请翻译成英文：\n\n{}",
}
_CJK = re.compile(r"[\u3400-\u9fff]")
_LETTER = re.compile(r"[A-Za-z]")


def check_script(translation: str, passage: str, lang: str) -> None:
    """Demand the other language's script, and a length that a translation can have.

    Args:
        translation: The translation.
        passage: What was translated.
        lang: The passage's language.

    Raises:
        RowFailure: `wrong_script` or `wrong_length`.
    """
    cjk, letters = len(_CJK.findall(translation)), len(_LETTER.findall(translation))
    share = cjk / max(1, cjk + letters)
    if share < 0.3 if lang == "en" else share > 0.1:
        raise RowFailure("wrong_script", "the translation is not in the other language")
    ratio = len(translation) / max(1, len(passage))
    low, high = (0.12, 1.2) if lang == "en" else (1.2, 9.0)
    if not low <= ratio <= high:
        raise RowFailure("wrong_length", "the translation is too short or too long")


async def run(source: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Translate one passage, and back.

    Raises:
        RowFailure: no_passage, wrong_script, wrong_length, `lost_content`.
    """
    lang = source.lang
    pieces = cut_passages(source.text, _CHARS[lang])
    passage = need(max(pieces, key=len, default=""), "no_passage")
    there = prompt(f"{NAME}/translate", lang, VERSION, _SYSTEM, _USER, passage=passage)
    translation = need(plain(await asker.say(there)), "no_text")
    check_script(translation, passage, lang)
    other = "zh" if lang == "en" else "en"
    back = prompt(f"{NAME}/back", other, VERSION, _SYSTEM, _USER, passage=translation)
    kept = round(overlap(plain(await asker.say(back)), passage), 4)
    if kept < _MIN_BACK:
        raise RowFailure("lost_content", "translated back it shares too little with the passage")
    extra: dict[str, object] = {"from": lang, "to": other, "kept": kept}
    return [Row(_TASK[lang].format(passage), translation, (), extra, kind="rl")]
