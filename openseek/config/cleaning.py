"""What the cleaning step changes, drops, masks and flags.

Rules are data: a *block* is a named set of thresholds on document statistics
(`openseek.cleaning.stats.STATS`) for some categories, languages and sources. A preset gives the
blocks (`openseek/cleaning/presets/*.yaml`); `blocks` changes or adds to them by name.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Literal, cast

from pydantic import Field, field_validator, model_validator

from openseek.config.base import Bytes, Section, runtime
from openseek.config.categories import NATURAL, PROSE, Kind
from openseek.config.masking import PiiConfig, WordsConfig

LanguageGroup = Literal["en", "zh", "other"]
_PRESETS = ("standard", "fineweb", "datatrove", "cci4", "none")


class Threshold(Section):
    """The range that a document statistic must lie in, and where the range comes from."""

    min: float | None = Field(None, description="Smallest value that is kept; none: no lower end.")
    max: float | None = Field(None, description="Largest value that is kept; none: no upper end.")
    source: str = Field("", description="Paper, project or measurement that the range comes from.")

    @model_validator(mode="after")
    def _has_an_end(self) -> Threshold:
        if self.min is None and self.max is None:
            raise ValueError("a threshold needs `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: swap them")
        return self


class RuleBlock(Section):
    """Thresholds that apply together to some of the documents."""

    enabled: bool = Field(True, description="False switches the block off.")
    categories: tuple[Kind, ...] = Field((), description="Categories it applies to; empty: all.")
    languages: tuple[LanguageGroup, ...] = Field(
        (), description="Languages it applies to (en, zh, other); empty: all."
    )
    sources: tuple[str, ...] = Field((), description="Sources it applies to; empty: all.")
    before_lines: bool = Field(
        False, description="Judge the text as it came, before lines are removed from it."
    )
    thresholds: dict[str, Threshold] = Field(
        default_factory=dict, description="Statistic of a document -> range that is kept."
    )


class NormaliseConfig(Section):
    """Repairs that change the spelling of a text, never its words."""

    nfc: bool = Field(True, description="Compose characters (Unicode NFC).")
    width: bool = Field(
        False,
        description="Write full-width Latin letters and digits (Ａ１) as plain ones; not in code.",
    )
    control: bool = Field(
        True, description="Remove control, bidi-override and zero-width-space characters."
    )
    line_ends: bool = Field(
        True, description="One kind of line end; no spaces before it; form feeds become one."
    )
    mojibake: bool = Field(
        True, description="Repair lines of UTF-8 that was read as Windows-1252, where it is exact."
    )
    max_blank_lines: int = Field(2, description="Longest run of blank lines, in lines.", ge=0)


class SimplifyConfig(Section):
    """Traditional to Simplified Chinese, phrase by phrase (OpenCC)."""

    enabled: bool = Field(True, description="Convert (CCI4.0 does; its paper, section 3).")
    categories: tuple[Kind, ...] = Field(
        NATURAL, description="Categories to convert; in code, characters may be data."
    )
    scheme: Literal["t2s", "tw2s", "hk2s", "tw2sp"] = Field(
        "t2s", description="OpenCC conversion; tw2sp also replaces Taiwanese idioms."
    )


class LanguageConfig(Section):
    """Language identification (fastText lid.176) and the languages that are kept."""

    enabled: bool = Field(True, description="Identify the language.")
    categories: tuple[Kind, ...] = Field(
        PROSE, description="Categories in which documents of other languages are dropped."
    )
    keep: tuple[LanguageGroup, ...] = Field(("en", "zh"), description="Languages to keep.")
    foreign_score: float = Field(
        0.65,
        description="Drop where another language has at least this probability (FineWeb: 0.65).",
        ge=0,
        le=1,
    )
    max_chars: int = Field(
        2000, description="Characters from the start that are looked at (measured: .944).", ge=100
    )


CHINESE_FURNITURE: tuple[str, ...] = (
    "展开全文", "展开阅读", "阅读全文", "阅读原文", "点击查看", "点击展开", "点击进入", "点击下载",
    "查看更多", "查看全部", "查看详情", "更多精彩", "返回顶部", "返回首页", "返回列表", "加入收藏",
    "设为首页", "上一篇", "下一篇", "上一页", "下一页", "相关阅读", "相关推荐", "相关文章",
    "推荐阅读", "延伸阅读", "猜你喜欢", "热门推荐", "版权所有", "未经授权不得", "转载请注明",
    "免责声明", "责任编辑", "扫码关注", "扫描二维码", "微信公众号", "关注公众号", "关注我们",
    "联系我们", "分享到", "网站地图", "友情链接", "公网安备", "icp备", "登录后", "收起全文",
    "展開全文", "閱讀全文", "點擊查看", "點此查看", "返回頂部", "回到頂端", "返回首頁", "上一頁",
    "下一頁", "相關閱讀", "相關文章", "推薦閱讀", "延伸閱讀", "版權所有", "轉載請註明", "免責聲明",
    "責任編輯", "掃描二維碼", "關注我們", "聯絡我們", "網站地圖", "熱門推薦", "猜你喜歡",
)  # fmt: skip
"""What Chinese pages say around a text: read on, share, copyright, previous page."""


class LineConfig(Section):
    """Removal of lines (C4, Raffel 2020, section 2.2)."""

    categories: tuple[Kind, ...] = Field(("foundation",), description="Categories to treat.")
    phrases: tuple[str, ...] = Field(
        (
            "enable javascript",
            "javascript is disabled",
            "terms of use",
            "privacy policy",
            "cookie policy",
            "uses cookies",
            "use of cookies",
            "use cookies",
        ),
        description="Short lines with one of these (any case) are removed (C4's list).",
    )
    max_chars: int = Field(
        200, description="Only lines up to this length, in characters; longer ones are prose."
    )
    furniture: tuple[str, ...] = Field(
        CHINESE_FURNITURE,
        description="In texts with Chinese characters, short lines with one of these are removed "
        "(own list: read on, share, copyright, previous page; in both scripts).",
    )
    furniture_chars: int = Field(
        30,
        description="Longest such line, in characters; 12 for one that ends like a sentence.",
        ge=1,
    )
    bars: int = Field(
        3,
        description="Remove a line of short names, most of them Chinese, set apart by at least so "
        "many | or ｜, unless it is of a table; 0: none (own rule: navigation).",
        ge=0,
    )
    page_phrases: tuple[str, ...] = Field(
        (), description="A text with one of these (any case) is dropped: C4's `lorem ipsum`."
    )
    terminal: Literal["any", "sentence", "latin"] = Field(
        "any",
        description="Lines that stay: any; those that end a sentence of any script; those that "
        "end in . ! ? or a straight quotation mark (C4).",
    )
    min_words: int = Field(0, description="Remove lines of fewer words; 0: none.", ge=0)
    max_word_chars: int = Field(
        0, description="Remove lines with a longer word, in characters; 0: none.", ge=0
    )
    citations: bool = Field(
        False, description="Remove an encyclopaedia's marks: [12], [edit], [citation needed]."
    )


class CodeConfig(Section):
    """Source files."""

    generated: tuple[str, ...] = Field(
        (
            "do not edit",
            "do not modify",
            "auto-generated",
            "autogenerated",
            "automatically generated",
            "generated by the protocol buffer",
            "@generated",
        ),
        description="A file that has one of these (lower case) in its first 1,000 characters is "
        "dropped as generated (own list, after starcoder, Li et al. 2023, section 3.1).",
    )
    licences: Literal["keep", "remove"] = Field(
        "keep", description="Leading comments with a copyright or licence."
    )


class MathConfig(Section):
    """Pages full of formulas: judged, and their lines treated, as documents of category math.

    Formulas have braces, hash signs, short lines, few letters and few full stops: all that rules
    for prose drop a page for.
    """

    enabled: bool = Field(True, description="Look for such pages among prose.")
    min_marks: int = Field(
        8, description="Commands, powers, indices and symbols that a page has at least.", ge=1
    )
    marks_per_1000_chars: float = Field(
        6.0,
        description="The same per 1,000 characters (own measurement: 1 of 12,883 pages of "
        "manuals and dictionaries has as many).",
        gt=0,
    )


class CleaningConfig(Section):
    """Everything the cleaning step does, in the order it is done."""

    preset: Literal["standard", "fineweb", "datatrove", "cci4", "none"] = Field(
        "standard", description="Where the rule blocks, and some other settings, come from."
    )
    normalise: NormaliseConfig = Field(NormaliseConfig(), description="Unicode and line ends.")
    language: LanguageConfig = Field(LanguageConfig(), description="Language identification.")
    simplify: SimplifyConfig = Field(SimplifyConfig(), description="Traditional to Simplified.")
    lines: LineConfig = Field(LineConfig(), description="Boilerplate lines.")
    code: CodeConfig = Field(CodeConfig(), description="Generated files, licence headers.")
    math: MathConfig = Field(MathConfig(), description="Pages full of formulas.")
    blocks: dict[str, RuleBlock] = Field(
        default_factory=dict,
        description="Rule blocks by name; merged over the preset's, so that a key changes one.",
    )
    words: WordsConfig = Field(
        default_factory=WordsConfig, description="Sensitive words, by severity."
    )
    pii: PiiConfig = Field(default_factory=PiiConfig, description="Personal data and secrets.")
    han_words: bool = Field(
        True,
        description="In Chinese texts each character is a word; false: runs between spaces are.",
    )
    max_document: Bytes = Field(
        64_000_000,
        description=(
            "Largest document, in bytes; a larger one is quarantined (64MB: cleaning takes some "
            "20 bytes a byte of the longest document, so that a worker stays below 2GB)."
        ),
        gt=0,
    )
    samples: int = Field(5, description="Documents shown per reason and shard.", ge=0, le=50)
    batch_rows: int = runtime(2000, "Documents cleaned together; bounds memory.", ge=1)

    @model_validator(mode="before")
    @classmethod
    def _merge_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        preset = data.get("preset", "standard")
        if preset not in _PRESETS:
            return data  # the field's own check says what is allowed
        given = data.get("blocks") or {}
        if not isinstance(given, dict):
            return data
        given = {**{k: v for k, v in data.items() if k != "blocks"}, "blocks": given}
        return _merged({**preset_settings(preset), "blocks": preset_blocks(preset)}, given)

    @field_validator("blocks")
    @classmethod
    def _known_statistics(cls, blocks: dict[str, RuleBlock]) -> dict[str, RuleBlock]:
        for name, block in blocks.items():
            for stat in block.thresholds:
                if stat not in STATISTICS:
                    raise ValueError(
                        f"block {name!r}: no statistic {stat!r}; there are {', '.join(STATISTICS)}"
                    )
        return blocks


STATISTICS: tuple[str, ...] = (
    "chars",
    "bytes",
    "words",
    "lines",
    "mean_line_chars",
    "max_line_chars",
    "mean_sentence_chars",
    "sentences",
    "line_sentences",
    "mean_word_chars",
    "max_word_chars",
    "alpha_words",
    "alpha_per_word",
    "stop_words",
    "hash_per_word",
    "ellipsis_per_word",
    "bullet_lines",
    "ellipsis_lines",
    "terminal_lines",
    "short_lines",
    "newlines_per_word",
    "alnum",
    "digits",
    "han",
    "replacement",
    "braces",
    "dup_lines",
    "dup_line_chars",
    "dup_paragraphs",
    "dup_paragraph_chars",
    "dup_solid_line_chars",
    "top_2gram",
    "top_3gram",
    "top_4gram",
    "dup_5gram",
    "dup_6gram",
    "dup_7gram",
    "dup_8gram",
    "dup_9gram",
    "dup_10gram",
)
"""Statistics that a threshold may name; their definitions are in `openseek.cleaning.stats`."""


def preset_blocks(name: str) -> dict[str, Any]:
    """Read a preset's rule blocks."""
    return {key: value for key, value in _read_preset(name).items() if key != "settings"}


def preset_settings(name: str) -> dict[str, Any]:
    """Read what else a preset sets: fields of `CleaningConfig`."""
    return cast(dict[str, Any], _read_preset(name).get("settings", {}))


def _read_preset(name: str) -> dict[str, Any]:
    if name == "none":
        return {}
    import yaml

    text = (files("openseek") / "cleaning" / "presets" / f"{name}.yaml").read_text("utf-8")
    return cast(dict[str, Any], yaml.safe_load(text))


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, Section):
            value = value.model_dump()
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
