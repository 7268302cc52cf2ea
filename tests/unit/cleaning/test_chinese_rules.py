import pytest

from openseek.cleaning import clean_text, normalise
from openseek.config.cleaning import CleaningConfig, NormaliseConfig

PROSE = (
    "铁路在这个国家的发展中有很重要的作用。从前的人们坐船往来，后来有了火车，运输的时间大大缩短了。"
    "现在高速列车把各个城市连接在一起，人们在一天之内就可以到达很远的地方，生活也因此改变了许多。"
    "工程师还在研究新的技术，希望将来的旅行更加安全，也更加舒适。"
)


@pytest.mark.parametrize("preset", ["standard", "cci4", "fineweb"])
@pytest.mark.parametrize(
    "line",
    [
        "首页 | 新闻 | 体育 | 财经 | NBA",
        "首页｜新闻中心｜产品展示｜联系方式",
        "【展开全文】",
        "« 上一页",
        "下一篇：秋天的第一场雪",
        "点击查看更多内容",
        "版權所有 © 2020 某某網",
        "京ICP备12345678号",
        "转载请注明出处。",
    ],
)
def test_what_stands_around_a_page_goes(line: str, preset: str) -> None:
    for text in (f"{PROSE}\n{line}", f"{line}\n{PROSE}", f"{PROSE}\n{line}\n{PROSE[::-1]}"):
        result = clean_text(text, "zh-Hans", "foundation", CleaningConfig(preset=preset))
        assert line not in result.text
        assert PROSE in result.text
        assert result.changes["lines"] == 1


@pytest.mark.parametrize(
    "lines",
    [
        "按下方向键切换到上一页",
        "他让我点击查看那封信，可是我没有时间去看，只好等到第二天早上再说。",
        "姓名 | 年龄 | 城市 | 职业\n张三 | 三十 | 北京 | 教师",
        "姓名 | 年龄 | 城市 | 职业\n-----+------+------+-----",
        "| 姓名 | 年龄 | 城市 | 职业 |",
        "选项 -a | -b | -c | -d",
        "SELECT | INSERT | UPDATE | DELETE",
        "A || B || C || D",
    ],
)
def test_tables_synopses_and_prose_stay(lines: str) -> None:
    text = f"{PROSE}\n{lines}\n{PROSE}"
    assert clean_text(text, "zh-Hans", "math").text == text
    result = clean_text(text, "zh-Hans", "foundation")
    assert result.text == text
    assert "lines" not in result.changes


def test_english_pages_and_code_keep_their_bars() -> None:
    english = "This is the first sentence of the text, and it is followed by others." * 3
    text = english + "\nHome | About | Contact | Login\n上一页"
    assert clean_text(text, "en", "foundation").text == text.replace("\n上一页", "")
    assert clean_text(text, "en", "code").text == text
    off = CleaningConfig(lines={"furniture": (), "bars": 0})
    assert clean_text(text, "en", "foundation", off).text == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROSE, ""),
        ("".join(c for c in PROSE if c not in "，。") * 2, "chinese.alnum"),
        ("★◆" * 60 + PROSE[:100], "chinese.alnum"),
        ("\n".join(f"选择菜单里的第 {i} 个命令“插入，打开，和保存文件的方法”" for i in range(40)),
         "chinese.mean_sentence_chars"),
        (PROSE[:120] + "啊" * 60, "chinese.top_2gram"),
        ("\n".join(PROSE[i : i + 20] + "……" for i in range(0, 120, 20)),
         "chinese.ellipsis_lines"),
    ],
)  # fmt: skip
def test_the_chinese_block(text: str, reason: str) -> None:
    result = clean_text(text, "zh-Hans", "foundation", CleaningConfig(preset="cci4"))
    assert (reason in result.failed) == bool(reason), result.failed
    assert bool(result.reason) == bool(reason)


def test_full_width_letters_and_digits_become_plain_ones_except_in_code() -> None:
    text = f"{PROSE}电话：１３８１２３４５６７８，型号ＡＢ－１２ｃ。"
    result = clean_text(text, "zh-Hans", "foundation")
    assert result.text.endswith("电话：<PHONE>，型号AB－12c。")
    assert result.changes["normalise.width"] == 1
    assert clean_text("x = 'Ａ１'\n" * 10, "code", "code").changes == {}
    assert normalise("Ａ１", NormaliseConfig()) == ("Ａ１", ())
