"""Every deduplication step: the same bytes for any order, partitions, workers, and after a kill."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_runs import DyingOutput, backwards, context, digests, document, serial, write_shards

from openseek.artifacts.folder import FolderFiles
from openseek.config.dedup import DedupConfig
from openseek.config.lines import LinesConfig
from openseek.config.substring import SubstringConfig
from openseek.dedup import passes
from openseek.dedup.lines import remove_lines
from openseek.dedup.step import dedup
from openseek.dedup.substring_step import exact_substring

STEPS = {
    "exact": (dedup, DedupConfig(near=False)),
    "minhash": (dedup, DedupConfig(write_index=True)),
    "minhash unverified": (dedup, DedupConfig(verify=False, prefer="any")),
    "substring": (exact_substring, SubstringConfig(preset="bytes-200")),
    "substring words": (exact_substring, SubstringConfig(preset="tokens-50", remove="documents")),
    "lines": (remove_lines, LinesConfig(min_bytes=8, max_copies=2)),
    "paragraphs": (remove_lines, LinesConfig(unit="paragraph", max_copies=1, keep="none")),
}


def words(rng: np.random.Generator, n: int) -> list[str]:
    return [f"w{i}" for i in rng.integers(0, 9000, n)]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> FolderFiles:
    """Three shards with copies of documents, of passages, of lines and of paragraphs."""
    rng = np.random.default_rng(3)
    passages = [" ".join(words(rng, 70)) for _ in range(4)]
    texts = ["", "天地玄黄" * 90, "天地玄黄" * 80]
    for i in range(30):
        body = words(rng, 120)
        lines = [
            " ".join(body),
            f"{passages[i % 4]} {i}",
            "A menu of the site",
            "A menu of the site",
        ]
        texts.append("\n\n".join(lines))
        if i % 3 == 0:
            texts.append("\n\n".join([" ".join([*body[:-1], "end"]), *lines[1:]]))  # near
        if i % 5 == 0:
            texts.append("  ".join(lines).upper())  # exact, up to case and spaces
    rows = [document(texts[i], i) for i in rng.permutation(len(texts)).tolist()]
    return write_shards(tmp_path_factory.mktemp("same") / "in", [rows[i::3] for i in range(3)])


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("partitions", [1, 4])
def test_order_of_work_and_partitions(
    documents: FolderFiles, tmp_path: Path, monkeypatch, one_process, name: str, partitions: int
) -> None:
    step, config = STEPS[name]
    first = step(context(documents, tmp_path / "a", config))
    json.dumps(first, allow_nan=False)
    assert sum(first["dropped"].values()) + sum(first["changed"].values()) > 3
    monkeypatch.setattr(passes, "map_shards", backwards)
    config = config.model_copy(update={"partitions": partitions})
    second = step(context(documents, tmp_path / "b", config))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert {**first, "pairs": 0} == {**second, "pairs": 0}


@pytest.mark.parametrize("name", STEPS)
def test_killed_at_any_commit(
    documents: FolderFiles, tmp_path: Path, one_process, name: str
) -> None:
    step, config = STEPS[name]
    whole = step(context(documents, tmp_path / "whole", config))
    expected = digests(tmp_path / "whole")
    for commits in itertools.count():
        out = tmp_path / f"out{commits}"
        try:
            step(context(documents, DyingOutput(out, commits), config))
        except KeyboardInterrupt:
            assert step(context(documents, out, config)) == whole
            assert digests(out) == expected
        else:
            break
    assert commits >= 7


@pytest.mark.parametrize("name", STEPS)
def test_what_is_committed_is_not_done_again(
    documents: FolderFiles, tmp_path: Path, monkeypatch, name: str
) -> None:
    step, config = STEPS[name]
    work: list[tuple[str, int]] = []

    def run(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> None:
        for shard in shards:
            fn(shard, *args)
            work.append((fn.__name__, shard))

    monkeypatch.setattr(passes, "map_shards", run)
    with pytest.raises(KeyboardInterrupt):
        step(context(documents, DyingOutput(tmp_path / "out", 5), config))
    step(context(documents, tmp_path / "out", config))
    assert len(work) == len(set(work)) >= 7


@pytest.mark.slow
@pytest.mark.ray
def test_the_number_of_workers(documents: FolderFiles, tmp_path: Path, monkeypatch) -> None:
    from openseek import compute

    found: dict[str, list[Any]] = {name: [] for name in STEPS}
    try:
        for workers in (5, 2, 1):  # the Ray of the first run has room for all
            for name, (step, config) in STEPS.items():
                out = tmp_path / f"{name}-{workers}"
                metrics = step(context(documents, out, config, workers=workers))
                found[name].append((metrics, digests(out)))
    finally:
        compute.shutdown()
    monkeypatch.setattr(passes, "map_shards", serial)
    for name, (step, config) in STEPS.items():
        alone = step(context(documents, tmp_path / name, config))
        assert found[name] == [(alone, digests(tmp_path / name))] * 3, name
