"""An explainable quality score from text statistics alone.

Seven parts, each a ramp between a value that says "no" (0) and one that says "yes" (1), averaged
with fixed weights. The score orders documents of one language and category by how much they look
like connected, explaining prose; it knows nothing about truth or topic. Thresholds follow the
Gopher rules (Rae et al. 2021, A1.1) where they have a counterpart, else the middle 80 % of
cppreference, PostgreSQL and Python documentation, Debian handbooks and Chinese newspaper text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

FUNCTION_WORDS = (
    "the of and to in a is that for it as with on be by this are or at from an which but not have "
    "has was were can will if when then than there their its we you they i he she his her these "
    "those such may would should could also into about between because so all more one some any no"
)
FUNCTION_CHARACTERS = "的了是在和与也就都而及着或把被对从为不有这那其以之于将"
CONNECTIVES = (
    "because therefore thus hence since however although whereas means meaning called defined "
    "define example instance consider suppose explain explains consists similarly specifically "
    "finally first second next result follows implies shows recall note"
)
CHINESE_CONNECTIVES = (
    "因为 所以 因此 例如 比如 是指 由于 但是 然而 首先 其次 最后 如果 那么 可以 意味 "
    "说明 即是 称为 从而 此外 假设 表示 包括 通过"
)

WEIGHTS = {
    "prose": 0.20,  # letters and CJK among all that is not space
    "sentences": 0.15,  # words a sentence, neither lists nor run-ons
    "function_words": 0.20,  # Gopher asks for stop words; their share says more than their presence
    "vocabulary": 0.10,  # distinct words in the first 512
    "connectives": 0.15,  # because, therefore, for example: text that explains
    "length": 0.10,  # too short to teach anything below about 200 characters
    "fresh_lines": 0.10,  # Gopher drops above 30 % duplicate lines
}


def heuristic_parts(buf: NDArray, offsets: NDArray) -> dict[str, NDArray]:
    """Compute every part of the score in [0, 1] for texts in Arrow's layout.

    Args:
        buf: UTF-8 bytes, uint8.
        offsets: Text boundaries, int64, one more than texts.

    Returns:
        Part name -> float64 array, one value a text; names as in `WEIGHTS`.
    """
    from openseek.quality.kernels import FEATURES, text_features

    words, phrases = _tables()
    raw = text_features(buf, offsets, words, phrases)
    f = {name: raw[:, i] for i, name in enumerate(FEATURES)}
    solid = np.maximum(f["chars"] - f["spaces"], 1)
    n_words = np.maximum(f["words"], 1)
    chinese = f["cjk"] > 0.3 * solid
    per_sentence = f["words"] / np.maximum(f["sentences"], 1)
    scale = np.where(chinese, 2.0, 1.0)  # a Chinese sentence has about twice as many characters
    return {
        "prose": _ramp((f["letters"] + f["cjk"]) / solid, 0.6, 0.9),
        "sentences": _ramp(per_sentence, 3 * scale, 9 * scale)
        * _ramp(per_sentence, 80 * scale, 35 * scale)
        * (f["sentences"] > 0),
        "function_words": _ramp(
            f["function_words"] / n_words,
            np.where(chinese, 0.02, 0.10),
            np.where(chinese, 0.10, 0.38),
        ),
        "vocabulary": _ramp(f["distinct_words"] / np.maximum(f["probed_words"], 1), 0.2, 0.5),
        "connectives": _ramp(f["connectives"] / n_words, 0.0, np.where(chinese, 0.02, 0.015)),
        "length": _ramp(np.log(np.maximum(f["chars"], 1)), np.log(80), np.log(2000)),
        "fresh_lines": _ramp(f["duplicate_lines"] / np.maximum(f["lines"], 1), 0.3, 0.02),
    }


def heuristic_scores(buf: NDArray, offsets: NDArray) -> NDArray[np.float32]:
    """Score texts in Arrow's layout: the weighted mean of `heuristic_parts`, in [0, 1]."""
    parts = heuristic_parts(buf, offsets)
    total = sum(weight * parts[name] for name, weight in WEIGHTS.items())
    return np.asarray(total, np.float32)


def explain(text: str) -> dict[str, float]:
    """Say how the heuristic score of one text comes about: each part and `score`."""
    buf, offsets = pack([text])
    parts = {name: float(values[0]) for name, values in heuristic_parts(buf, offsets).items()}
    return {**parts, "score": sum(WEIGHTS[name] * value for name, value in parts.items())}


def pack(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Lay texts out as one UTF-8 buffer with offsets; lone surrogates become `?`."""
    encoded = [t.encode("utf-8", "replace") for t in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(e) for e in encoded], out=offsets[1:])
    offsets.setflags(write=False)  # as Arrow's are: one compiled version of each kernel
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def _ramp(value: NDArray, at0: object, at1: object) -> NDArray:
    low, high = np.asarray(at0, np.float64), np.asarray(at1, np.float64)
    return np.clip((value - low) / (high - low), 0.0, 1.0)


@cache
def _tables() -> tuple[NDArray, NDArray]:
    from openseek.quality.kernels import pair_key

    functions = [h[0] | np.uint64(1) for h in map(_token_hashes, FUNCTION_WORDS.split())]
    functions += [h[0] | np.uint64(1) for h in map(_token_hashes, FUNCTION_CHARACTERS)]
    phrases = [h[0] | np.uint64(1) for h in map(_token_hashes, CONNECTIVES.split())]
    for phrase in CHINESE_CONNECTIVES.split():
        first, second = _token_hashes(phrase)
        phrases.append(np.uint64(pair_key(first, second)))
    return hash_table(np.array(functions, np.uint64))[0], hash_table(np.array(phrases, np.uint64))[
        0
    ]


def _token_hashes(text: str) -> NDArray:
    from openseek.quality.kernels import tokenize

    buf, offsets = pack([text])
    return tokenize(buf, 0, int(offsets[1]))[0]


def hash_table(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Build the open-addressing table that the kernels probe, and the index of each slot's key.

    Args:
        keys: Odd 64-bit hashes, unique.
    """
    from openseek.quality.kernels import build_table

    size = 1 << max(4, int(2 * len(keys)).bit_length())
    table, slots = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    build_table(keys, table, slots)
    return table, slots
