"""Compiled: code points of UTF-8 text and the end of a 64-bit hash, for all kernels.

numba's cache on disk notices changes of a function's own file only, and the kernels inline these:
after a change here remove the `__pycache__` folders (quality's kernels notice by themselves).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)

kernel = njit(cache=True, _nrt=False)
"""Compile what allocates nothing. numba would count references to each array at each call, with two
atomic instructions an array, which took half the time of the text kernels; without its runtime it
does not, and whoever calls keeps the arrays alive."""

inlined = njit(cache=True, _nrt=False, forceinline=True)
"""The same for small functions inside a loop."""


@inlined
def decode(buf: NDArray, i: int) -> Any:
    """Read one code point of valid UTF-8; return it and its width in bytes."""
    b = np.int64(buf[i])
    if b < 0x80:
        return b, 1
    if b < 0xE0:
        return ((b & 31) << 6) | (np.int64(buf[i + 1]) & 63), 2
    if b < 0xF0:
        tail = ((np.int64(buf[i + 1]) & 63) << 6) | (np.int64(buf[i + 2]) & 63)
        return ((b & 15) << 12) | tail, 3
    tail = ((np.int64(buf[i + 2]) & 63) << 6) | (np.int64(buf[i + 3]) & 63)
    return ((b & 7) << 18) | ((np.int64(buf[i + 1]) & 63) << 12) | tail, 4


@inlined
def mix(h: Any) -> Any:
    """Finish a 64-bit hash (splitmix64)."""
    h = (h ^ (h >> _S30)) * _MIX1
    h = (h ^ (h >> _S27)) * _MIX2
    return h ^ (h >> _S31)
