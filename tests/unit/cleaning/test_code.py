import pytest

from openseek.cleaning import clean_text
from openseek.cleaning.code import without_licence
from openseek.config.cleaning import CleaningConfig

BODY = "import os\n\n\ndef main():\n    # a comment stays\n    print(os.getcwd())\n"


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("# Copyright 2020 A. Body\n# All rights reserved.\n\n", ""),
        ("#!/bin/env python\n# SPDX-License-Identifier: MIT\n", "#!/bin/env python\n"),
        ("/*\n * Licensed under X\n */\n", ""),
        ("# What this file does.\n", "# What this file does.\n"),
        ("", ""),
    ],
)
def test_licence_headers_go_and_other_comments_stay(header: str, kept: str) -> None:
    assert without_licence(header + BODY) == kept + BODY
    config = CleaningConfig(code={"licences": "remove"})
    assert clean_text(header + BODY, "code", "code", config).text == kept + BODY
    assert clean_text(header + BODY, "code", "code").text == header + BODY


def test_a_comment_that_is_all_there_is_stays() -> None:
    assert without_licence("# the license\n# of this") == "# the license\n# of this"


def test_generated_and_data_files_are_dropped() -> None:
    assert clean_text("# DO NOT EDIT\n" + BODY, "code", "code").reason == "code.generated"
    assert clean_text(BODY * 20 + "# do not edit\n", "code", "code").reason == ""
    table = "x = [\n" + "    123456, 789012, 345678,\n" * 40 + "]\n"
    assert clean_text(table, "code", "code").reason == "code_shape.digits"
    minified = "function f(a){return a+1}" * 60
    assert clean_text(minified, "code", "code").reason == "code_shape.mean_line_chars"
