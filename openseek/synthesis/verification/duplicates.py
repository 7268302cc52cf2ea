"""Exact and near duplicates among all synthetic rows, by the data layer's digests and MinHash.

Memory is bounded at about 100 bytes a row: band keys, digests and offsets. Shingles lie in a file
and are read only for rows that share a band. Rows are compared in the order in which they are
added, so that the result depends on that order alone, not on who made which row when.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openseek.config.dedup import DedupConfig

LSH = DedupConfig(ngram=3, bands=8, rows=3, seed=20240517)
"""A pair of Jaccard 0.8 is found with probability 1 - (1 - 0.8^3)^8 = 0.997, one of 0.9: 1.0."""
MEMBERS = 100
"""Rows of one band that a new one is compared with; a template's band has thousands."""
EXACT, NEAR = "exact_duplicate", "near_duplicate"


class NearDuplicates:
    """Collect rows, then tell which repeat an earlier one.

    Args:
        threshold: Jaccard similarity of 3-token shingles from which a row is a near duplicate.
        folder: Where shingles are kept meanwhile.
    """

    def __init__(self, threshold: float, folder: Path) -> None:
        self.threshold = threshold
        self._path = folder / "row-shingles.bin"
        self._path.unlink(missing_ok=True)
        self._keys: list[NDArray[np.uint64]] = []
        self._digests: list[NDArray[np.uint64]] = []
        self._ends: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]

    def add(self, texts: Sequence[str]) -> None:
        """Append some rows."""
        from openseek.dedup.kernels import digests, shingle_sets
        from openseek.dedup.minhash import keys_of_bands, pack, sign

        if not texts:
            return
        buf, offsets = pack(texts)
        table, counts = sign(buf, offsets, LSH)
        keys = keys_of_bands(table, LSH)
        alone = np.flatnonzero(counts == 0)
        keys[alone] = 0  # no shingle, no band: nothing but its digest
        values, starts = shingle_sets(buf, offsets, LSH.ngram)
        with self._path.open("ab") as f:
            f.write(values.tobytes())
        self._keys.append(keys)
        self._digests.append(np.asarray(digests(buf, offsets), np.uint64))
        self._ends.append(self._ends[-1][-1] + np.asarray(starts[1:], np.int64))

    def repeats(self) -> list[tuple[str, int, float]]:
        """Compare every row with those before it that were kept.

        Returns:
            For each row `exact_duplicate`, `near_duplicate` or nothing, the earlier row, and their
            Jaccard similarity (of a kept row: the highest one found, with -1 for no such row).
        """
        if not self._keys:
            return []
        groups = _shared(np.concatenate(self._keys))
        digests = np.concatenate(self._digests)
        same = _shared(digests[:, :1])[:, 0]
        members: dict[int, list[int]] = {}
        twins: dict[int, list[int]] = {}
        found: list[tuple[str, int, float]] = []
        with _Shingles(self._path, np.concatenate(self._ends)) as shingles:
            for row in range(len(digests)):
                twin = [
                    i for i in twins.get(int(same[row]), ()) if (digests[i] == digests[row]).all()
                ]
                mine = [int(g) for g in groups[row] if g >= 0]
                if twin:
                    found.append((EXACT, twin[0], 1.0))
                    continue
                earlier = sorted({i for g in mine for i in members.get(g, ())})
                found.append(shingles.most_similar(row, earlier, self.threshold))
                if not found[-1][0]:
                    for g in mine:
                        if len(members.setdefault(g, [])) < MEMBERS:
                            members[g].append(row)
                    if same[row] >= 0:
                        twins.setdefault(int(same[row]), []).append(row)
        self._path.unlink(missing_ok=True)
        return found


class _Shingles:
    """The shingles of each row, in a file."""

    def __init__(self, path: Path, ends: NDArray[np.int64]) -> None:
        self._file = path.open("rb")
        self._ends = ends

    def __enter__(self) -> _Shingles:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def of(self, row: int) -> NDArray[np.uint64]:
        start, end = int(self._ends[row]), int(self._ends[row + 1])
        self._file.seek(8 * start)
        return np.frombuffer(self._file.read(8 * (end - start)), np.uint64)

    def most_similar(
        self, row: int, earlier: Sequence[int], threshold: float
    ) -> tuple[str, int, float]:
        from openseek.dedup.kernels import jaccard

        best, which = 0.0, -1
        mine = self.of(row) if earlier else np.zeros(0, np.uint64)
        for other in earlier:
            similarity = float(jaccard(mine, self.of(other)))
            if similarity > best:
                best, which = similarity, other
            if similarity >= threshold:
                return NEAR, other, round(similarity, 4)
        return "", which, round(best, 4)


def _shared(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Number the groups of rows that share a key in the same column; -1 for a key of one row."""
    groups = np.full(keys.shape, -1, np.int64)
    count = 0
    for column in range(keys.shape[1]):
        _, inverse, sizes = np.unique(keys[:, column], return_inverse=True, return_counts=True)
        shared = (sizes[inverse] > 1) & (keys[:, column] != 0)
        groups[shared, column] = count + inverse[shared]
        count += len(sizes)
    return groups
