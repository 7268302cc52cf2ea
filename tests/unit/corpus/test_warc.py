from __future__ import annotations

import gzip
import io
import zlib

import pytest
from corpus_small import source
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.corpus.readers import Bad, Blob, Row, read_blob


def record(kind: str, body: bytes, **headers: str) -> bytes:
    lines = ["WARC/1.0", f"WARC-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{k.replace('_', '-')}: {v}" for k, v in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"\r\n\r\n"


def page(body: bytes, url: str = "http://e.org/", status: str = "200 OK", **headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    answer = "\r\n".join(head).encode() + b"\r\n\r\n" + body
    return record(
        "response", answer, Content_Type="application/http; msgtype=response", WARC_Target_URI=url
    )


def wet(text: str, url: str = "http://e.org/") -> bytes:
    return record(
        "conversion", text.encode(), Content_Type="text/plain", WARC_Target_URI=url,
        WARC_Date="2024-07-12T00:00:00Z", WARC_Identified_Content_Language="zho,eng",
    )  # fmt: skip


def read(name: str, data: bytes, **fields: object) -> list[Row | Bad]:
    blob = Blob(name, lambda: io.BytesIO(data), size=len(data))
    return list(read_blob(blob, source(path="x", **fields)))


def texts(items: list[Row | Bad]) -> list[str]:
    return [i.text for i in items if isinstance(i, Row)]


def reasons(items: list[Row | Bad]) -> list[str]:
    return [i.reason for i in items if isinstance(i, Bad)]


@pytest.mark.parametrize("each", [True, False])
def test_a_wet_file_gives_its_pages(each: bool) -> None:
    records = [
        record("warcinfo", b"software: x", Content_Type="application/warc-fields"),
        wet("first page\r\nsecond line", "http://e.org/1"),
        wet("第二页", "http://e.org/2"),
    ]
    data = b"".join(gzip.compress(r) for r in records) if each else gzip.compress(b"".join(records))
    found = read("CC-MAIN-1.warc.wet.gz", data)
    assert texts(found) == ["first page\nsecond line", "第二页"]
    assert isinstance(found[0], Row)
    assert found[0].origin == "http://e.org/1"
    assert found[0].locator == "CC-MAIN-1.warc.wet.gz#record=1"
    assert found[0].meta == {"date": "2024-07-12T00:00:00Z", "languages": "zho,eng"}


def test_a_warc_file_gives_what_a_reader_sees() -> None:
    html = "<html><head><title>t</title></head><body><nav>menu</nav><p>Tom &amp; 汤姆</p></body>"
    chunked = b"4\r\n<p>a\r\n5;x=y\r\nb</p>\r\n0\r\n\r\n"
    data = b"".join(
        [
            page(html.encode(), Content_Type="text/html; charset=utf-8"),
            page(html.encode("gb18030"), Content_Type="text/html; charset=GB18030"),
            page(b'<meta charset="big5"><p>' + "繁體".encode("big5"), Content_Type="text/html"),
            page(chunked, Content_Type="text/html", Transfer_Encoding="chunked"),
            page(b"<p>whole</p>", Content_Type="text/html", Transfer_Encoding="chunked"),
            page(gzip.compress(b"plain"), Content_Type="text/plain", Content_Encoding="gzip"),
            page(zlib.compress(b"flat"), Content_Type="text/plain", Content_Encoding="deflate"),
            page(b"unpacked", Content_Type="text/plain", Content_Encoding="gzip"),
            record("resource", b"a resource", Content_Type="text/plain"),
        ]
    )
    found = read("a.warc", data)
    assert texts(found) == [
        "Tom & 汤姆", "Tom & 汤姆", "繁體", "ab", "whole", "plain", "flat", "unpacked",
        "a resource",
    ]  # fmt: skip


def test_what_is_no_page_is_passed_over_and_what_is_broken_set_aside() -> None:
    data = b"".join(
        [
            page(b"\x89PNG", Content_Type="image/png"),
            page(b"<p>gone</p>", status="404 Not Found", Content_Type="text/html"),
            record("request", b"GET / HTTP/1.1\r\n\r\n", Content_Type="application/http"),
            record("response", b"no head", Content_Type="application/http"),
            page(b"<p>\xff\xfe</p>", Content_Type="text/html; charset=utf-8"),
            page(b"<p>a</p>", Content_Type="text/html; charset=no-such"),
            wet("x" * 2000),
            wet("kept"),
        ]
    )
    found = read("a.warc", data, max_document=1000)
    assert texts(found) == ["kept"]
    assert reasons(found) == ["not UTF-8", "not in its charset", "record larger than 1000 bytes"]


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b"nothing of the kind\r\n\r\n", "not a WARC record"),
        (b"WARC/1.0\r\nWARC-Type: conversion\r\n\r\nabc", "a record without Content-Length"),
        (wet("cut short")[:-9], "the file ends within a record"),
        (b"WARC/1.0\r\n" + b"x" * 70_000, "not a WARC record"),
    ],
)
def test_a_damaged_archive_keeps_what_comes_before(tail: bytes, reason: str) -> None:
    found = read("a.warc", wet("before") + tail)
    assert texts(found) == ["before"]
    assert reasons(found) == [reason]


def test_a_truncated_download_keeps_its_whole_pages() -> None:
    data = b"".join(gzip.compress(wet(f"page {i} " + "text " * i)) for i in range(50))
    found = read("a.warc.gz", data[: len(data) * 2 // 3])
    assert texts(found)[0] == "page 0 "
    assert 10 < len(texts(found)) < 50
    assert len(reasons(found)) == 1


@settings(max_examples=60)
@given(pages=st.lists(st.text(max_size=60), max_size=8), member=st.booleans())
def test_any_text_comes_back(pages: list[str], member: bool) -> None:
    kept = [p.replace("\r", "") for p in pages]
    records = [wet(p, f"http://e.org/{i}") for i, p in enumerate(kept)]
    data = b"".join(map(gzip.compress, records)) if member else b"".join(records)
    found = read("a.wet.gz" if member else "a.wet", data)
    assert texts(found) == [p.removeprefix("\ufeff") for p in kept]
