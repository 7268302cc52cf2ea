"""Rank files become plain tokenizers with the ids that tiktoken gives."""

from __future__ import annotations

import base64
import itertools
import json
import unicodedata
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.config.tokens import TokenizerConfig
from openseek.errors import DataError
from openseek.tokens import copy_tokenizer, load_tokenizer
from openseek.tokens.tiktoken import QWEN_PATTERN, QWEN_SPECIAL, bpe_tokenizer, read_ranks

# Merges in an order that makes ranks matter: "the" is reached by two splits, "aaa" by two more,
# "ing" only as a whole piece, and the Chinese character is cut within its bytes.
MADE_UP = [
    b"aa", b"th", b"he", b"the", b" t", b" the", b"aaa", b"in", b"ng", b"ing", b"er", b"ab", b"ba",
    b"aba", b"bab", b"  ", b"    ", b"\n\n", b"'s", b"ll", b"'ll", b"\xe6\xb2", b"\xe6\xb2\xb3",
    b"\xcc\x81", b"e\xcc", b"12", b"\xf0\x9f", b"\xf0\x9f\x98", b"\r\n", b" a", b" aa", b" aaaa",
    b"singing", b"==", b"====", b"!=", b" \n", b"\xef\xbf", b"\xc3\xa9",
]  # fmt: skip
RANKS = {bytes([b]): b for b in range(256)} | {t: 256 + i for i, t in enumerate(MADE_UP)}
SPECIAL = {token: len(RANKS) + i for i, token in enumerate(QWEN_SPECIAL)}

TEXTS = [
    "", " ", "   \n\n  \t x", "the theme, she'll sing: it's HE'S 'LL", "aaaaaaa aaaa baabab ababab",
    "singing", "ringing", "河水河", "é e\u0301 \u0301\u0301", "😀😃 \U0001f468\u200d\U0001f469",
    "12345 1 22", "a\r\n\r\nb\r", "== ==== != !==", "<|endoftext|>", "<|im_start|>user", "\x00\x01",
    "\ufffd\ufeff", "a" * 200, " " * 33 + "x", "ﬁ Ⅷ ² ½", "ا\u064bب", "क्षि", "\u1e9b\u0323",
    "def f(x):\n\treturn x+1\n\n\n", "x\u3000y\u00a0z", "ab" * 50, "İıſK", "ʼs ’s",
]  # fmt: skip
GOLDEN = {  # what tiktoken 0.14.0 gives
    "the theme, she'll sing: it's HE'S": [
        259, 261, 109, 101, 44, 32, 115, 258, 276, 32, 115, 265, 58, 32, 105, 116, 274, 32, 72, 69,
        39, 83,
    ],
    "aaaaaaa baabab": [256, 256, 262, 32, 98, 256, 270],
    "e\u0301河 😀 12345\r\n<|im_end|>": [
        294, 278, 32, 283, 128, 32, 49, 50, 51, 52, 53, 284, 60, 124, 105, 109, 95, 101, 110, 100,
        124, 62,
    ],
}  # fmt: skip


def write_ranks(folder: Path, ranks: dict[bytes, int]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = (f"{base64.b64encode(t).decode()} {r}\n" for t, r in ranks.items())
    (folder / "qwen.tiktoken").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def reference() -> tiktoken.Encoding:
    return tiktoken.Encoding(
        "made-up", pat_str=QWEN_PATTERN, mergeable_ranks=RANKS, special_tokens=SPECIAL
    )


@pytest.fixture(scope="module")
def ours():
    return bpe_tokenizer(RANKS, SPECIAL)


def encode(tokenizer, text: str) -> list[int]:
    tokenizer.encode_special_tokens = True  # text is only ever text
    return tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", TEXTS)
def test_ids_on_adversarial_text(ours, reference, text) -> None:
    expected = reference.encode_ordinary(unicodedata.normalize("NFC", text))
    assert encode(ours, text) == expected
    assert ours.decode(expected, skip_special_tokens=False) == unicodedata.normalize("NFC", text)


@settings(max_examples=300)
@given(text=st.one_of(st.text(alphabet="ab' the\n1=sing", max_size=60), st.text(max_size=40)))
def test_ids_on_any_text(ours, reference, text) -> None:
    expected = reference.encode_ordinary(unicodedata.normalize("NFC", text))
    assert encode(ours, text) == expected


@settings(max_examples=60)
@given(
    joined=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=40),
    text=st.text(alphabet="abcé", max_size=80),
)
def test_ids_with_any_ranks(joined, text) -> None:
    """Vocabularies that BPE training may give: each entry joins two earlier ones."""
    entries = [bytes([b]) for b in range(256)]
    pool = [b"a", b"b", b"c", b"\xc3", b"\xa9"]
    for left, right in joined:
        token = pool[left % len(pool)] + pool[right % len(pool)]
        if token not in pool and len(token) < 20:
            pool.append(token)
            entries.append(token)
    ranks = {token: rank for rank, token in enumerate(entries)}
    reference = tiktoken.Encoding(
        "any", pat_str=QWEN_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )
    assert encode(bpe_tokenizer(ranks, {}, nfc=False), text) == reference.encode_ordinary(text)


def test_golden_ids(ours) -> None:
    for text, ids in GOLDEN.items():
        assert encode(ours, text) == ids


def test_a_folder_with_code_of_its_own_loads_without_it(tmp_path: Path) -> None:
    """As OpenSeek-Small-v1 ships it: a rank file, remote code, ids in config.json."""
    source = write_ranks(tmp_path / "source", RANKS)
    bos, eos = (SPECIAL[f"<|extra_{i}|>"] for i in (203, 204))
    declared = {"tokenizer_class": "QWenTokenizer", "auto_map": {"AutoTokenizer": ["x.Y", None]}}
    (source / "tokenizer_config.json").write_text(json.dumps(declared))
    (source / "config.json").write_text(json.dumps({"bos_token_id": bos, "eos_token_id": [eos]}))
    (source / "generation_config.json").write_text("{,}")
    copy_tokenizer(TokenizerConfig(path=str(source)), tmp_path / "out")
    tokenizer = load_tokenizer(tmp_path / "out")
    assert tokenizer.vocab_size == len(RANKS) + 208
    assert (tokenizer.bos_id, tokenizer.eos_id) == (bos, eos)
    assert tokenizer.pad_id == SPECIAL["<|endoftext|>"]
    ids = tokenizer.encode_batch(["the <|endoftext|>"])[0]
    assert SPECIAL["<|endoftext|>"] not in ids
    assert tokenizer.decode(ids) == "the <|endoftext|>"
    assert "auto_map" not in (tmp_path / "out" / "tokenizer_config.json").read_text()

    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    assert theirs("<|im_start|>the")["input_ids"] == [SPECIAL["<|im_start|>"], RANKS[b"the"]]
    assert theirs.eos_token == "<|extra_204|>"


def test_qwens_sizes() -> None:
    assert len(QWEN_SPECIAL) == 208
    assert 151_643 + len(QWEN_SPECIAL) == 151_851
    assert 151_643 + QWEN_SPECIAL.index("<|extra_203|>") == 151_849


def test_damaged_rank_files_are_refused(tmp_path: Path) -> None:
    source = write_ranks(tmp_path, dict(itertools.islice(RANKS.items(), 1, None)))
    with pytest.raises(DataError, match="255 single bytes"):
        read_ranks(source / "qwen.tiktoken")
    (source / "qwen.tiktoken").write_text("YQ== 0\nnot base64 1\n")
    with pytest.raises(DataError, match="line 2 is not"):
        read_ranks(source / "qwen.tiktoken")
    write_ranks(tmp_path, RANKS)
    (source / "qwen.tiktoken").rename(source / "other.tiktoken")
    with pytest.raises(DataError, match="special tokens or its pattern are not known"):
        copy_tokenizer(TokenizerConfig(path=str(source)), tmp_path / "out")
