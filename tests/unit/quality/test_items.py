from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from openseek.artifacts.folder import FolderFiles
from openseek.errors import DataError
from openseek.quality.items import compose_item, load_items, question_of

HELLASWAG = {"ctx": "A man kneels", "endings": ["and sings.", "and digs."], "label": "1"}
ARC = {
    "question": "Which is a gas?",
    "choices": {"text": ["iron", "helium"], "label": ["A", "B"]},
    "answerKey": "B",
}
CSQA = {
    "question": {
        "stem": "Where is a pen?",
        "choices": [{"label": "A", "text": "desk"}, {"label": "B", "text": "sea"}],
    },
    "answerKey": "A",
}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (HELLASWAG, "A man kneels and digs."),
        (ARC, "Which is a gas? helium"),
        (CSQA, "Where is a pen? desk"),
        ({"question": "q", "choices": ["no", "yes"], "answer": 1, "subject": "s"}, "q yes"),
        ({"question": "题目", "A": "甲", "B": "乙", "C": "丙", "answer": "C"}, "题目 丙"),
        ({"goal": "Boil water", "sol1": "Heat it.", "sol2": "Cool it.", "label": 0},
         "Boil water Heat it."),
        ({"sentence": "The _ ran.", "option1": "dog", "option2": "cat", "answer": "2"},
         "The _ ran. cat"),
        ({"question": "Sum?", "answer": "1 + 1 = 2 #### 2"}, "Sum? 1 + 1 = 2 #### 2"),
        ({"question": "Capital?", "answer": {"value": "Paris", "aliases": []}}, "Capital? Paris"),
        ({"question": "Is it?", "answer": True, "passage": "p"}, "Is it?"),
        ({"problem": "Find x.", "solution": "x = 3"}, "Find x. x = 3"),
        ({"question": "q", "choices": ["no", "yes"], "answer": 7}, "q"),
        ({"prompt": "def f():", "task_id": "h/1"}, "def f():"),
    ],
)  # fmt: skip
def test_published_columns_become_question_and_answer(row: dict[str, Any], text: str) -> None:
    assert compose_item(row) == text
    assert text.startswith(question_of(row))


ROWS = [{"id": "7", "question": "q one", "answer": "a one"}, {"question": "q two"}]


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst", "json", "parquet"])
def test_a_folder_of_any_format_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sub" / f"quiz.{kind}"
    path.parent.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    else:
        pack = {"gz": gzip.compress, "zst": zstandard.compress}.get(kind[6:], bytes)
        path.write_bytes(pack(lines))
    (tmp_path / "README.md").write_text("about")
    items, counts = load_items(FolderFiles(tmp_path))
    assert counts == {"quiz": 2}
    assert [(i.id, i.text, i.question) for i in items] == [
        ("7", "q one a one", "q one"), ("1", "q two", "q two")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("q.jsonl", b'{"question": "q"}\n{"question', "not readable"),
        ("q.jsonl", b"[1, 2]\n", "not readable"),
        ("q.parquet", b"PAR1", "not readable"),
        ("q.jsonl", b'{"n": 3}\n', "has no text"),
        ("q.txt", b"what?", "no evaluation items"),
    ],
)
def test_what_cannot_be_read_is_a_clear_error(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        load_items(FolderFiles(tmp_path))


def test_an_empty_folder_has_no_items(tmp_path: Path) -> None:
    assert load_items(FolderFiles(tmp_path)) == ([], {})
