from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus_small import contents, context, source
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.artifacts.folder import FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.corpus import fingerprint, read_documents
from openseek.corpus.detokenizer import Detokenizer, load_detokenizer
from openseek.corpus.readers import Bad, Blob, Row, read_blob
from openseek.corpus.readers.megatron import document_ranges, write_megatron
from openseek.corpus.step import ingest
from openseek.errors import ConfigError, DataError

TEXTS = [f"document {i}: " + "汤姆 & Tom. " * (i % 40) for i in range(300)]


def tokens(text: str) -> list[int]:
    """Encode as the byte vocabulary does, with ids above it at both ends."""
    out, data = [300], text.encode()
    i = 0
    while i < len(data):
        pair = data[i : i + 2] == b"te"
        out.append(256 if pair else data[i])
        i += 2 if pair else 1
    return [*out, 301]


def blob(path: Path) -> Blob:
    def sibling(name: str) -> object:
        beside = path.parent / name
        return beside.open("rb") if beside.is_file() else None

    return Blob(path.name, lambda: path.open("rb"), sibling, path.stat().st_size)  # type: ignore[arg-type]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "part_0_text_document.bin"
    path.parent.mkdir()
    assert write_megatron(path, map(tokens, TEXTS)) == (300, sum(map(len, map(tokens, TEXTS))))
    return path


def texts(root: Path) -> list[str]:
    return [str(r["text"]) for p in sorted(root.glob("*.parquet")) for r in read_documents(p)]


def test_token_files_are_read_in_parts_of_whole_documents(
    corpus: Path, byte_vocabulary: Path, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    config = source(path=str(corpus.parent), tokenizer=str(byte_vocabulary))
    small, whole = FolderOutput(tmp_path / "small"), FolderOutput(tmp_path / "whole")
    ingest(context([config], runtime, small, shard_bytes=100_000))
    assert len(serial) == 4
    ingest(context([config], runtime, whole))
    assert texts(small.root) == texts(whole.root) == TEXTS
    first = next(read_documents(next(iter(sorted(whole.root.glob("*.parquet"))))))
    assert first["origin"] == "part_0_text_document.bin#document=0"
    again = FolderOutput(tmp_path / "again")
    ingest(context([config], runtime, again, shard_bytes=100_000))
    assert contents(again.root) == contents(small.root)


@settings(max_examples=40)
@given(
    docs=st.lists(st.lists(st.integers(0, 60_000), max_size=20), max_size=12),
    limit=st.integers(1, 200),
    dtype=st.sampled_from(["int32", "uint16", "int64"]),
)
def test_ranges_tile_the_documents(docs: list[list[int]], limit: int, dtype: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.bin"
        write_megatron(path, docs, dtype)
        ranges = document_ranges(blob(path), limit)
        read = [n for _, start, end in ranges for n in range(start, end or 0)]
        assert read == list(range(len(docs)))
        assert sum(size for size, _, _ in ranges) == path.stat().st_size
        largest = max([0, *map(len, docs)]) * path.stat().st_size // max(1, sum(map(len, docs)))
        assert all(size <= max(limit, largest) for size, _, _ in ranges)


def test_what_the_vocabulary_says_is_part_of_the_content(
    corpus: Path, byte_vocabulary: Path, tmp_path: Path, runtime: RuntimeConfig
) -> None:
    def content(tokenizer: Path) -> str:
        config = source(path=str(corpus.parent), tokenizer=str(tokenizer))
        return fingerprint(config, runtime).content

    copy = tmp_path / "elsewhere.tiktoken"
    copy.write_bytes(byte_vocabulary.read_bytes())
    assert content(copy) == content(byte_vocabulary)
    other = tmp_path / "other.tiktoken"
    other.write_bytes(byte_vocabulary.read_bytes().replace(b"dGU= 256", b"dGE= 256"))
    assert content(other) != content(byte_vocabulary)


def test_a_tokenizer_json_reads_as_well(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = load_detokenizer(str(tmp_path))
    assert found.decode([*tokenizer.encode("汤姆 and  Tom\n").ids, 256]) == "汤姆 and  Tom\n"
    with pytest.raises(ValueError, match="vocabulary"):
        found.decode([257])


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _other(path: Path) -> None:
    path.write_bytes(b"TNTIDX" + path.read_bytes()[6:])


def _typed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[17] = 77
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_cut, "not a whole index"),
        (_other, "not an index of tokens"),
        (_typed, "token type 77"),
        (Path.unlink, "no index"),
    ],
)
def test_a_broken_index_is_told(
    damage: Callable[[Path], None], says: str, corpus: Path, byte_vocabulary: Path
) -> None:
    damage(corpus.with_suffix(".idx"))
    config = source(path="x", tokenizer=str(byte_vocabulary))
    with pytest.raises(DataError, match=says) as caught:
        list(read_blob(blob(corpus), config))
    assert caught.value.mend


def test_documents_that_cannot_be_read_are_set_aside(tmp_path: Path, byte_vocabulary: Path) -> None:
    path = tmp_path / "a.bin"
    docs = [tokens("good"), [0xFF, 0xFE], [9_000_000], tokens("x" * 600), [], tokens("cut")]
    write_megatron(path, docs)
    path.write_bytes(path.read_bytes()[:-4])
    config = source(path="x", tokenizer=str(byte_vocabulary), max_document=1000)
    found = list(read_blob(blob(path), config))
    assert [i.text for i in found if isinstance(i, Row)] == ["good", ""]
    assert [i.reason for i in found if isinstance(i, Bad)] == [
        "its tokens are not UTF-8",
        "a token outside the vocabulary",
        "document larger than 1000 bytes of tokens",
        "the token file ends before the document",
    ]


def test_a_missing_tokenizer_is_told(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="need their tokenizer"):
        list(read_blob(blob(corpus), source(path="x")))
    for place in (tmp_path / "nowhere", tmp_path / "nowhere.json"):
        with pytest.raises(ConfigError, match="no tokenizer there"):
            load_detokenizer(str(place))
    for name, data in (("a.tiktoken", b"!!! 0\n"), ("b.tiktoken", b"dGU= 5\n"), ("c.json", b"{}")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match="not a tokenizer"):
            load_detokenizer(str(tmp_path / name))


@given(text=st.text(max_size=80))
def test_any_text_survives_its_tokens(text: str) -> None:
    import base64

    lines = [f"{base64.b64encode(bytes([i])).decode()} {i}" for i in range(256)]
    lines.append(f"{base64.b64encode(b'te').decode()} 256")
    detokenizer = Detokenizer("\n".join(lines).encode(), "a.tiktoken")
    assert detokenizer.decode(tokens(text)) == text
