"""A tiktoken rank file (`qwen.tiktoken`) as a tokenizer of the `tokenizers` library.

A rank file lists byte strings, each with its rank; the merges are not in it. tiktoken joins the
adjacent pair whose concatenation has the lowest rank. So every split of an entry into two entries
is a merge, in the order of the entries' ranks; a piece of text that is an entry is taken whole.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openseek.errors import DataError

# Qwen's pieces: as those of GPT-4's encoding, but digits one by one.
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205)),
)  # fmt: skip
"""Their ids follow the last rank, in this order."""


def read_ranks(path: Path) -> dict[bytes, int]:
    """Read a rank file: a line is a byte string in base64, a space, its rank.

    Raises:
        DataError: A line is something else, ranks are not 0, 1, 2 …, or a single byte is missing.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError as error:
            raise DataError(
                f"line {number} is not `base64 rank`: {line[:60]!r}", where=str(path),
                mend="Fetch the file again.",
            ) from error  # fmt: skip
    single = sum(len(token) == 1 for token in ranks)
    if sorted(ranks.values()) != list(range(len(ranks))) or single != 256:
        raise DataError(
            f"{len(ranks)} entries, {single} single bytes, ranks up to "
            f"{max(ranks.values(), default=-1)}", where=str(path),
            mend="Ranks must be 0, 1, 2 … and hold all 256 bytes: fetch the file again.",
        )  # fmt: skip
    return ranks


def bpe_tokenizer(
    ranks: Mapping[bytes, int],
    special: Mapping[str, int],
    *,
    pattern: str = QWEN_PATTERN,
    nfc: bool = True,
) -> Any:
    """Build a `tokenizers.Tokenizer` that gives the ids that tiktoken gives.

    Args:
        ranks: Byte strings -> ids.
        special: Special tokens -> ids.
        pattern: Regular expression of the pieces that are never joined.
        nfc: Compose characters first (Unicode NFC), as Qwen's tokenizer does.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
    from tokenizers import pre_tokenizers as pre

    letter = _byte_letters()
    spelled = {token: "".join(letter[b] for b in token) for token in ranks}
    merges: list[tuple[int, int, int, str, str]] = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ranks and right in ranks:
                merges.append((rank, ranks[left], ranks[right], spelled[left], spelled[right]))
    merges.sort()
    # Special tokens are in the model's vocabulary too: else their ids would be counted anew.
    vocab = {spelled[token]: rank for token, rank in ranks.items()} | dict(special)
    pairs = [(left, right) for *_, left, right in merges]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=pairs, ignore_merges=True))
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre.Sequence(
        [
            pre.Split(Regex(pattern), behavior="isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    ordered = sorted(special, key=lambda token: special[token])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ordered])
    return tokenizer


def convert_tiktoken(source: Path, folder: Path) -> dict[str, str]:
    """Write tokenizer.json for a folder whose tokenizer is a rank file with code of its own.

    Special tokens are those that tokenizer_config.json lists, or Qwen's.

    Args:
        source: With one `*.tiktoken` file.
        folder: Where to write.

    Returns:
        The tokens that begin, end and pad, as far as config.json, generation_config.json or
        Qwen's convention (end and pad: <|endoftext|>) say: {"bos_token", "eos_token", "pad_token"}.

    Raises:
        DataError: The file is damaged, there are several, or its special tokens are not known.
    """
    files = sorted(source.glob("*.tiktoken"))
    if len(files) != 1:
        raise DataError(
            f"{len(files)} .tiktoken files", where=str(source), mend="Leave the one that is meant."
        )
    ranks = read_ranks(files[0])
    config = lenient_json(source / "tokenizer_config.json")
    qwen = "qwen" in files[0].name.lower() or "qwen" in str(config.get("tokenizer_class")).lower()
    special = {
        str(entry["content"]): int(number)
        for number, entry in (config.get("added_tokens_decoder") or {}).items()
    }
    if not special and qwen:
        special = {token: len(ranks) + i for i, token in enumerate(QWEN_SPECIAL)}
    if not special or not qwen:
        raise DataError(
            "its special tokens or its pattern are not known", where=str(files[0]),
            mend="Only Qwen's layout can be read (tokenizer_class QWenTokenizer); for another, "
            "call openseek.tokens.tiktoken.bpe_tokenizer with its pattern and special tokens.",
        )  # fmt: skip
    bpe_tokenizer(ranks, special).save(str(folder / "tokenizer.json"))
    return _marks(source, config, special)


def lenient_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a file that is not there or is not JSON counts as empty.

    For files that only add to what is known otherwise (some published ones are damaged).
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _marks(source: Path, config: dict[str, Any], special: Mapping[str, int]) -> dict[str, str]:
    by_id = {number: token for token, number in special.items()}
    named = lenient_json(source / "config.json") | lenient_json(source / "generation_config.json")
    marks = {}
    for kind in ("bos", "eos", "pad"):
        declared = config.get(f"{kind}_token")
        token = declared.get("content") if isinstance(declared, dict) else declared
        ids = named.get(f"{kind}_token_id")
        number = ids[0] if isinstance(ids, list) and ids else ids
        token = token or (by_id.get(number) if isinstance(number, int) else None)
        if token is None and kind != "bos" and "<|endoftext|>" in special:
            token = "<|endoftext|>"
        if token:
            marks[f"{kind}_token"] = str(token)
    return marks


def _byte_letters() -> list[str]:
    """Return GPT-2's letter for each byte: printable ones stand for themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in plain}
    others = (byte for byte in range(256) if byte not in letters)
    letters |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]
