from __future__ import annotations

import bz2
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from corpus_small import jsonl, source
from hypothesis import given
from hypothesis import strategies as st

from openseek.corpus.readers import Bad, Blob, Row, read_blob
from openseek.corpus.readers.docstrings import docstrings
from openseek.corpus.readers.html import html_to_text
from openseek.corpus.readers.jsonl import iter_lines, read_jsonl
from openseek.corpus.readers.man import man_to_text
from openseek.corpus.streams import FED, chunks
from openseek.errors import DataError

Packer = Callable[[bytes], bytes]


def blob(name: str, data: bytes) -> Blob:
    return Blob(name, lambda: io.BytesIO(data), size=len(data))


def read(name: str, data: bytes, **fields: object) -> list[Row | Bad]:
    return list(read_blob(blob(name, data), source(path="x", **fields)))


def texts(items: list[Row | Bad]) -> list[str]:
    return [i.text for i in items if isinstance(i, Row)]


def reasons(items: list[Row | Bad]) -> list[str]:
    return [i.reason for i in items if isinstance(i, Bad)]


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=12),
    cuts=st.lists(st.integers(1, 7), min_size=1, max_size=50),
    limit=st.integers(1, 40),
)
def test_lines_do_not_depend_on_how_the_stream_is_cut(
    lines: list[bytes], cuts: list[int], limit: int
) -> None:
    data = b"".join(line + b"\n" for line in lines)
    pieces, at = [], 0
    for cut in cuts * (len(data) + 1):
        pieces.append(data[at : at + cut])
        at += cut
        if at >= len(data):
            break
    found = list(iter_lines(iter(pieces), limit))
    assert [(x.data, x.size) for x in found] == [(line[:limit], len(line)) for line in lines]
    assert all(data[x.offset :].startswith(x.data) for x in found)


@given(
    words=st.lists(st.text(max_size=20), min_size=1, max_size=20),
    step=st.integers(1, 200),
    end=st.booleans(),
)
def test_byte_ranges_that_tile_a_file_give_each_line_once(
    words: list[str], step: int, end: bool
) -> None:
    data = jsonl({"text": w} for w in words)
    data = data if end else data[:-1]
    whole = list(read_jsonl(blob("a.jsonl", data), source(path="x")))
    parts = [
        row
        for start in range(0, len(data), step)
        for row in read_jsonl(blob("a.jsonl", data), source(path="x"), start, start + step)
    ]
    assert parts == whole
    assert texts(whole) == words


def test_separators_that_are_no_newlines_stay_inside_a_line() -> None:
    text = "one\u2028two\u0085three\x0bfour"
    data = json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n"
    assert texts(read("a.jsonl", data)) == [text]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_bad_lines_are_set_aside_with_their_reason(suffix: str) -> None:
    rows = [
        b'{"text": "good"}',
        b'{"text": "cut sh',
        b'{"text": "\xff\xfe"}',
        b'{"text": 7}',
        b'["a list"]',
        b'{"other": "no text"}',
        b'{"text": "' + b"x" * 5000 + b'"}',
        b'{"text": "last"}',
    ]
    data = b"\n".join(rows) + b"\n"
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    found = read(f"a.jsonl{suffix}", pack(data), max_document=1000)
    assert texts(found) == ["good", "last"]
    assert reasons(found) == [
        "not JSON",
        "not UTF-8",
        "text is not a string",
        "not an object",
        "no text column",
        "line longer than 1000 bytes",
    ]
    starts = [i.locator for i in found]
    assert starts[1] == f"a.jsonl{suffix}#byte=17"


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_truncated_stream_keeps_the_rows_before_its_end(suffix: str) -> None:
    data = jsonl({"text": f"row {i} " + "abcdefgh"[i % 8] * i} for i in range(3000))
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    packed = pack(data)
    found = read(f"a.jsonl{suffix}", packed[: len(packed) * 2 // 3])
    assert reasons(found) == ["compressed stream ends early"]
    kept = texts(found)
    assert 0 < len(kept) < 3000
    assert kept == [json.loads(line)["text"] for line in data.split(b"\n")[: len(kept)]]


def test_several_compressed_members_are_one_file() -> None:
    data = gzip.compress(jsonl([{"text": "a"}])) + gzip.compress(jsonl([{"text": "b"}]))
    assert texts(read("a.jsonl.gz", data)) == ["a", "b"]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_file_of_another_format_is_an_error(name: str) -> None:
    with pytest.raises(DataError, match="not a readable"):
        read(name, b"this is nothing of the kind, at all")


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
def test_a_compressed_file_of_another_format_is_set_aside(suffix: str) -> None:
    found = read(f"a.jsonl{suffix}", b"this is nothing of the kind, at all")
    assert reasons(found) == ["compressed stream is damaged"]


def test_damage_within_the_first_read_keeps_the_members_before_it() -> None:
    rows = [{"text": f"{i}" * 50} for i in range(200)]
    good = zstandard.compress(jsonl(rows))
    assert len(good) < 20_000
    found = read("a.jsonl.zst", good + b"\x00" * FED + b"no frame" * 1000)
    assert texts(found) == [r["text"] for r in rows]
    assert reasons(found) == ["compressed stream is damaged"]


@pytest.mark.parametrize(("suffix", "pack"), [(".zst", zstandard.compress), (".bz2", bz2.compress)])
def test_a_decompression_bomb_is_read_in_bounded_pieces(suffix: str, pack: Packer) -> None:
    bomb = pack(b"a" * 200_000_000)
    assert len(bomb) < 50_000
    sizes = [len(p) for p in chunks(io.BytesIO(bomb), f"a.jsonl{suffix}")]
    assert sum(sizes) == 200_000_000
    assert max(sizes) <= 2**27 + 2**20


def test_a_column_that_no_row_has_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(DataError, match="no text column 'body'; the rows have text, url"):
        read("a.jsonl", jsonl([{"text": "a", "url": "b"}]), columns={"text": "body"})


def table() -> pa.Table:
    return pa.table({"body": ["one", None, "three"], "url": ["u1", "u2", "u3"], "n": [1, 2, 3]})


def test_parquet_and_arrow_give_the_same_rows(tmp_path: Path) -> None:
    columns = {"text": "body", "url": "url", "meta": ["n"]}
    pq.write_table(table(), tmp_path / "a.parquet", row_group_size=1)
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as f, pa.ipc.new_file(f, table().schema) as w:
        w.write_table(table())
    found = [
        read(name, (tmp_path / name).read_bytes(), columns=columns)
        for name in ("a.parquet", "a.arrow")
    ]
    for rows in found:
        assert texts(rows) == ["one", "three"]
        assert reasons(rows) == ["no text column"]
        assert isinstance(rows[2], Row)
        assert (rows[2].origin, rows[2].meta) == ("u3", {"n": 3})
    with pytest.raises(DataError, match="no text column 'text'; the rows have body"):
        read("a.parquet", (tmp_path / "a.parquet").read_bytes())


def test_several_and_nested_columns_become_one_text() -> None:
    row = {"q": "Why?", "a": {"b": "Because."}, "source": {"url": "http://x/1"}, "id": 9}
    columns = {"text": ["q", "a.b", "none"], "url": "source.url", "id": "id"}
    (found,) = read("a.jsonl", jsonl([row]), columns=columns)
    assert isinstance(found, Row)
    assert (found.text, found.origin, found.meta) == ("Why?\n\nBecause.", "http://x/1", {"id": "9"})


def test_html_becomes_what_a_reader_sees() -> None:
    page = """<html><head><title>T</title><style>p{}</style></head><body>
      <div class="nav top">menu</div><nav>more</nav><!-- note --><h1>A &amp; B</h1>
      <p>First line
         goes on<br>then breaks.</p><pre>  x = 1\n    y</pre>
      <table><tr><td>a</td><td>b</td></tr></table><p>中文
      换行</p><script>x()</script> tail</body></html>"""
    assert html_to_text(page, skip=("nav",)) == (
        "A & B\n\nFirst line goes on\nthen breaks.\n\n  x = 1\n    y\n\na\tb\n\n中文换行\n\ntail"
    )


@pytest.mark.parametrize("page", ["", "   ", "<!-- only -->", "\x00", "<?xml version='1.0'?>"])
def test_html_without_text_is_empty(page: str) -> None:
    assert html_to_text(page) == ""


def test_a_manual_page_becomes_prose() -> None:
    page = (
        '.\\" comment\n.TH LS 1\n.SH 名称\nls \\- 列出\n目录\n.PP\nUse \\fB-a\\fR and\n.BR ls (1)\n'
        "for more.\n.nf\n  $ ls\n.fi\n.de XX\nhidden\n..\n.SH END\n"
    )
    assert man_to_text(page) == ("名称\nls - 列出目录\n\nUse -a and ls(1) for more.\n  $ ls\n\nEND")


def test_docstrings_are_taken_with_their_names() -> None:
    long = "Does what it says, at some length, so that it is worth reading by somebody " * 2
    doc = f'"""{long}"""'
    lines = [
        doc,
        "class A:",
        "    def f(self):",
        f"        {doc}",
        "    def _g(self):",
        f"        {doc}",
    ]
    code = "\n".join(lines)
    assert docstrings(code, "m") == f"m\n\n{long.strip()}\n\nm.A.f\n\n{long.strip()}"
    with pytest.raises(ValueError, match="not valid Python"):
        docstrings("def")


def test_a_file_is_split_packed_and_stripped_of_colours() -> None:
    data = b"\x1b[31mone\x1b[m\n%\ntwo\n%\nthree\n%\n"
    assert texts(read("f", data, text={"split": "\n%\n"})) == ["one", "two", "three"]
    packed = read("f", data, text={"split": "\n%\n", "pack_chars": 6})
    assert texts(packed) == ["one\n\ntwo", "three"]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"\xff\xfe", "not UTF-8"),
        ("a.txt.gz", gzip.compress(b"x" * 100, mtime=0)[:-9], "compressed stream ends early"),
        ("a.txt", b"x" * 2000, "file larger than 1000 bytes"),
    ],
)
def test_a_bad_text_file_is_set_aside(name: str, data: bytes, reason: str) -> None:
    assert reasons(read(name, data, max_document=1000)) == [reason]


def test_a_dictionary_gives_its_entries_in_order() -> None:
    data = b"alpha\n  the {first} letter\nbeta\n  the second\n"
    split = data.index(b"beta")
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    rows = [("beta", split, len(data) - split), ("alpha", 0, split), ("Alpha", 0, split)]
    index = "".join(f"{w}\t{digits[a]}\t{digits[n]}\n" for w, a, n in rows).encode()
    words = Blob(
        "d/w.dict.dz",
        lambda: io.BytesIO(gzip.compress(data)),
        lambda name: io.BytesIO(index) if name == "d/w.index" else None,
    )
    found = list(read_blob(words, source(path="x")))
    assert texts(found) == ["alpha\n  the first letter", "beta\n  the second"]
    with pytest.raises(DataError, match="no index"):
        list(read_blob(blob("w.dict.dz", gzip.compress(data)), source(path="x")))


def test_a_hub_dataset_is_read_by_parts(tmp_path: Path) -> None:
    from openseek.config.sources import HubConfig
    from openseek.corpus.readers.huggingface import count_shards, read_hub

    for i in range(2):
        (tmp_path / f"part-{i}.jsonl").write_bytes(jsonl([{"text": f"row {i}"}]))
    hub = HubConfig(id=str(tmp_path))
    config = source(hub=hub.model_dump())
    assert count_shards(hub, "") == 2
    rows = [r for i in range(2) for r in read_hub(config, "", i, 2)]
    assert sorted(texts(rows)) == ["row 0", "row 1"]
