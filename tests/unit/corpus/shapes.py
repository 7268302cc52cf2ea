"""What the files of published corpora look like: name, format and all columns of a row.

Written down from the publishers' descriptions, not from the presets: a preset that names a column,
folder or format that is not there fails against it. Each shape also says what must come out.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from openseek.corpus.readers.megatron import write_megatron

Json = dict[str, Any]
N = 3


@dataclass(frozen=True)
class Shape:
    """One source's file.

    Attributes:
        file: Its path in the published layout.
        row: A row with every column, `{i}` standing for the row's number.
        meta: Keys that must be in a document's meta.
        url: Origin of the first document; empty: the file and row.
        id: meta.id of the first document.
    """

    file: str
    row: Json = field(default_factory=dict)
    meta: tuple[str, ...] = ()
    url: str = ""
    id: str = ""


def numbered(value: Any, i: int) -> Any:
    if isinstance(value, dict):
        return {k: numbered(v, i) for k, v in value.items()}
    return value.replace("{i}", str(i)) if isinstance(value, str) else value


def write(shape: Shape, root: Path) -> None:
    """Write a file of N rows in a shape under a folder."""
    path = root / shape.file
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [numbered(shape.row, i) for i in range(N)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return
    if path.suffix == ".bin":
        write_megatron(path, [[259, *f"text {i}".encode(), 260] for i in range(N)])
        return
    if ".warc.wet" in path.name:
        data = b"".join(_wet(row) for row in rows)
    else:
        data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    pack = {".gz": gzip.compress, ".zst": zstandard.compress, ".zstd": zstandard.compress}
    path.write_bytes(pack.get(path.suffix, bytes)(data))


def _wet(row: Json) -> bytes:
    body = row["text"].encode()
    head = f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: {row['url']}\r\n"
    head += f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body + b"\r\n\r\n"


PAGE = {"text": "text {i}", "url": "https://e.org/{i}"}
NEMOTRON = {"warc_record_id": "r{i}", "language": "eng", **PAGE}
FINEWEB = {
    "text": "text {i}", "id": "<urn:uuid:{i}>", "dump": "CC-MAIN-2024-10",
    "url": "https://e.org/{i}", "file_path": "s3://x", "language": "en", "language_score": 0.9,
    "token_count": 9, "score": 3.1, "int_score": 3,
}  # fmt: skip
OPC = {
    "url": "https://e.org/{i}", "tag": "math", "text": "text {i}", "file_path": "x",
    "dump": "CC-MAIN-2021-17", "file_size_in_byte": 9, "line_count": 1,
}  # fmt: skip
DOLMA = {
    "id": "d{i}", "text": "text {i}", "source": "wikipedia", "added": "2024-04-01",
    "created": "2023-01-01", "version": "v1", "metadata": {"length": 3},
}  # fmt: skip
FINEMATH = {
    "url": "https://e.org/{i}", "fetch_time": 1, "content_mime_type": "text/html",
    "warc_filename": "w", "warc_record_offset": 1, "warc_record_length": 2, "text": "text {i}",
    "token_count": 9, "char_count": 9, "metadata": "{}", "score": 4.2, "int_score": 4,
    "crawl": "CC-MAIN-2024-10", "snapshot_type": "latest", "language": "en", "language_score": 0.9,
}  # fmt: skip
INFIMATH = {
    "url": "https://e.org/{i}", "metadata": "{}", "score": 4.2, "int_score": 4, "token_count": 9,
    "char_count": 9, "text": "text {i}",
}  # fmt: skip
STACK = {
    "blob_id": "b{i}", "directory_id": "d", "path": "/a.py", "content_id": "c",
    "detected_licenses": ["MIT"], "license_type": "permissive", "repo_name": "o/r",
    "snapshot_id": "s", "revision_id": "v", "branch_name": "main", "src_encoding": "UTF-8",
    "language": "Python", "is_vendor": False, "is_generated": False, "length_bytes": 9,
    "extension": "py",
}  # fmt: skip
PROOF = {"text": "text {i}", "meta": {"arxiv_id": "1"}}
CRAWL = "crawl-data/CC-MAIN-2024-30/segments/1720763514387.30/wet"
E100 = "https://e.org/0"


def _nemotron(name: str) -> Shape:
    quality, _, kind = name.removeprefix("nemotron-cc-").rpartition("-")
    folder = "actual/kind2=actual" if kind == "actual" else f"synthetic/kind2={kind}"
    file = f"quality={quality}/kind={folder}/CC-MAIN-2013-20-part-00000.jsonl.zstd"
    return Shape(file, NEMOTRON, ("language",), E100, "r0")


def _fineweb(folder: str) -> Shape:
    file = f"{folder}/000_00000.parquet"
    return Shape(file, FINEWEB, ("dump", "score", "int_score"), E100, "<urn:uuid:0>")


def _dolma(folder: str, prefix: str) -> Shape:
    return Shape(f"{folder}/{prefix}-0000.json.gz", DOLMA, ("source", "added", "created"), "", "d0")


SHAPES: dict[str, Shape] = {
    **{
        name: _nemotron(name)
        for name in (
            "nemotron-cc-high-actual", "nemotron-cc-high-distill",
            "nemotron-cc-high-diverse_qa_pairs", "nemotron-cc-high-extract_knowledge",
            "nemotron-cc-high-knowledge_list", "nemotron-cc-high-wrap_medium",
            "nemotron-cc-medium-high-actual", "nemotron-cc-medium-actual",
            "nemotron-cc-medium-low-actual", "nemotron-cc-low-actual",
            "nemotron-cc-low-wrap_medium",
        )
    },
    "fineweb-edu-all": _fineweb("data/CC-MAIN-2013-20"),
    "fineweb-edu-350bt": _fineweb("sample/350BT"),
    "fineweb-edu-100bt": _fineweb("sample/100BT"),
    "fineweb-edu-10bt": _fineweb("sample/10BT"),
    "cci3-hq": Shape(
        "data/part_000000.jsonl", {"id": "c{i}", "text": "text {i}", "score": 4.1}, ("score",),
        "", "c0",
    ),
    "fineweb-edu-chinese-4-5": Shape(
        "4_5/0.parquet", {"text": "text {i}", "score": 0.9}, ("score",)
    ),
    "fineweb-edu-chinese-3-4": Shape(
        "3_4/a/0.parquet", {"text": "text {i}", "score": 0.7}, ("score",)
    ),
    "fineweb-edu-chinese-2-3": Shape(
        "2_3/0.parquet", {"text": "text {i}", "score": 0.5}, ("score",)
    ),
    "cci4-m2-base": Shape(
        "newest_arxiv-high/0.parquet", {"id": "a", "text": "text {i}"}, (), "", "a"
    ),
    "cci4-m2-base-zh": Shape("newest_zh_cc-high-loss0/0.parquet", {"text": "text {i}"}),
    "cci4-m2-cot": Shape("cot_synthesis_CC-high/0.jsonl", {"text": "text {i}"}),
    "dolma-wiki": _dolma("wiki", "wiki"),
    "dolma-books": _dolma("books", "books"),
    "dolma-arxiv": _dolma("redpajama-arxiv", "arxiv"),
    "dolma-pes2o": _dolma("pes2o", "pes2o"),
    "dolma-stackexchange": _dolma("redpajama-stackexchange", "stackexchange"),
    "opc-fineweb-math": Shape("data/train-00000-of-00037.parquet", OPC, ("tag", "dump"), E100),
    "opc-fineweb-code": Shape("data/train-00000-of-00510.parquet", OPC, ("tag", "dump"), E100),
    "proof-pile-2-arxiv": Shape("arxiv/train/arXiv_000.jsonl.zst", PROOF, ("meta",)),
    "proof-pile-2-open-web-math": Shape("open-web-math/train/o_0.jsonl.zst", PROOF, ("meta",)),
    "proof-pile-2-algebraic-stack": Shape("algebraic-stack/train/agda0000.jsonl.zst", PROOF),
    "finemath-4plus": Shape(
        "finemath-4plus/train-00000-of-00064.parquet", FINEMATH, ("score",), E100
    ),
    "finemath-3plus": Shape(
        "finemath-3plus/train-00000-of-00128.parquet", FINEMATH, ("score",), E100
    ),
    "finemath-infiwebmath-4plus": Shape("infiwebmath-4plus/a.parquet", INFIMATH, ("score",), E100),
    "finemath-infiwebmath-3plus": Shape("infiwebmath-3plus/a.parquet", INFIMATH, ("score",), E100),
    "smollm-corpus-cosmopedia-v2": Shape(
        "cosmopedia-v2/train-00000-of-00104.parquet",
        {"prompt": "p", "text": "text {i}", "token_length": 9, "audience": "children",
         "format": "story", "seed_data": "web"},
        ("format", "audience", "seed_data"),
    ),
    "smollm-corpus-fineweb-edu-dedup": Shape(
        "fineweb-edu-dedup/train-00000-of-00234.parquet",
        {"text": "text {i}", "id": "<urn:uuid:{i}>",
         "metadata": {k: v for k, v in FINEWEB.items() if k not in ("text", "id")}},
        ("metadata.dump", "metadata.score"), E100, "<urn:uuid:0>",
    ),
    "smollm-corpus-python-edu": Shape(
        "python-edu/train-00000-of-00001.parquet",
        {"blob_id": "b{i}", "repo_name": "o/r", "path": "/a.py", "length_bytes": 9, "score": 3.9,
         "int_score": 4},
        ("repo_name", "path", "score"), "", "b0",
    ),
    "the-stack-v2": Shape(
        "Python/train-00000-of-00009.parquet", STACK, ("repo_name", "license_type"), "", "b0"
    ),
    "common-crawl-wet": Shape(f"{CRAWL}/CC-MAIN-20240712-00000.warc.wet.gz", PAGE, (), E100),
}  # fmt: skip
