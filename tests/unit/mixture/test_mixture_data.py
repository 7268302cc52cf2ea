from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openseek.artifacts.folder import FolderFiles
from openseek.errors import ConfigError, DataError
from openseek.mixture import StageData, materialise, read_buckets

GROUPS = {"foundation": 0.5, "code": 0.2, "math": 0.2, "cot": 0.1}


@pytest.fixture
def data(tokens_dir: Path, tmp_path: Path, run: Any) -> StageData:
    run(tokens_dir, tmp_path / "mix", mixture={"groups": GROUPS})
    return StageData.open(FolderFiles(tokens_dir), FolderFiles(tmp_path / "mix"))


def stream(tokens_dir: Path, category: str) -> tuple[list[int], list[str]]:
    """The tokens of a category and the document of each, in order of shards, read naively."""
    tokens: list[int] = []
    owners: list[str] = []
    for shard in json.loads((tokens_dir / "index.json").read_text())["shards"]:
        kinds = ("tokens", "starts", "ids")
        load = {k: np.load(tokens_dir / f"{shard['name']}.{k}.npy") for k in kinds}
        for segment in shard["segments"]:
            first = segment["first_document"]
            for number in range(first, first + segment["documents"]):
                if segment["category"] == category:
                    part = load["tokens"][load["starts"][number] : load["starts"][number + 1]]
                    tokens += part.tolist()
                    owners += [load["ids"][number].decode()] * len(part)
    return tokens, owners


def test_sequences_are_cut_from_the_stream_of_their_group(
    data: StageData, tokens_dir: Path
) -> None:
    streams = {c: stream(tokens_dir, c) for c in data.categories}
    groups, sequences = data.indices(0, data.n_sequences)
    batch = data.batch(0, data.n_sequences)
    documents = data.document_ids(0, data.n_sequences)
    assert batch.tokens_BT1.shape == (250, 17)
    assert (batch.tokens_BT1.dtype, batch.doc_BT1.dtype) == (np.int64, np.int32)
    assert batch.category_B.dtype == np.int8
    for row in range(data.n_sequences):
        category = data.categories[batch.category_B[row]]
        assert category == data.groups[groups[row]]
        tokens, owners = streams[category]
        cut = slice(int(sequences[row]) * 16, int(sequences[row]) * 16 + 17)
        assert batch.tokens_BT1[row].tolist() == tokens[cut]
        order = list(dict.fromkeys(owners[cut]))
        assert batch.doc_BT1[row].tolist() == [order.index(name) for name in owners[cut]]
        assert documents[row] == order


def test_documents_begin_where_the_begin_token_stands(data: StageData) -> None:
    batch = data.batch(0, data.n_sequences)
    begins = np.diff(batch.doc_BT1, axis=1) == 1
    assert (begins == (batch.tokens_BT1[:, 1:] == data.bos_id)).all()
    assert (batch.doc_BT1[:, 0] == 0).all()


def test_groups_come_in_exact_numbers(data: StageData) -> None:
    found = Counter(data.batch(0, data.n_sequences).category_B.tolist())
    assert [found[i] for i in range(4)] == [125, 50, 50, 25]


def test_a_pass_over_a_group_reads_each_sequence_once(
    tokens_dir: Path, tmp_path: Path, run: Any
) -> None:
    index = json.loads((tokens_dir / "index.json").read_text())
    cot = sum(b.tokens for b in read_buckets(index)[0] if b.category == "cot")
    n = (cot - 1) // 16
    metrics = run(
        tokens_dir, tmp_path, tokens=3 * n * 16, mixture={"groups": {"cot": 1}, "max_epochs": 3}
    )
    assert metrics["groups"][0]["epochs"] == 3
    data = StageData.from_folders(tokens_dir, tmp_path)
    _, sequences = data.indices(0, 3 * n)
    passes = sequences.reshape(3, n)
    assert (np.sort(passes, axis=1) == np.arange(n)).all()
    assert (passes[0] != passes[1]).any()


@pytest.mark.parametrize("world_size", [1, 2, 5, 10])
def test_any_world_size_reads_the_same_batch(data: StageData, world_size: int) -> None:
    whole = data.batch(7, 10)
    parts = [whole.part(rank, world_size) for rank in range(world_size)]
    for name in ("tokens_BT1", "doc_BT1", "category_B"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert (joined == getattr(whole, name)).all()


def test_a_batch_that_does_not_divide_is_refused(data: StageData) -> None:
    with pytest.raises(ValueError, match="does not divide by 3"):
        data.batch(0, 10).part(0, 3)


def test_seeking_equals_iterating_for_any_batch_size(data: StageData) -> None:
    whole = data.batch(0, data.n_sequences)
    for size, step in ((1, 249), (10, 3), (25, 9), (50, 0)):
        batch = data.batch(step, size)
        cut = slice(step * size, (step + 1) * size)
        assert (batch.tokens_BT1 == whole.tokens_BT1[cut]).all()
        assert (batch.doc_BT1 == whole.doc_BT1[cut]).all()


def test_the_stage_ends(data: StageData) -> None:
    with pytest.raises(IndexError, match="of 250"):
        data.batch(25, 10)


def test_seed_and_stage_change_the_order_and_nothing_else_does(
    tokens_dir: Path, tmp_path: Path, run: Any
) -> None:
    mixture = {"groups": GROUPS}
    found = {}
    for name, values in {
        "same": {}, "again": {}, "seed": {"seed": 4}, "stage": {"stage": "integration"},
    }.items():  # fmt: skip
        run(tokens_dir, tmp_path / name, mixture=mixture, **values)
        data = StageData.from_folders(tokens_dir, tmp_path / name)
        found[name] = data.batch(0, 50).tokens_BT1
    assert (found["same"] == found["again"]).all()
    assert (found["same"] != found["seed"]).any()
    assert (found["same"] != found["stage"]).any()
    digests = {
        hashlib.sha256((tmp_path / n / "mixture.json").read_bytes()).hexdigest()
        for n in ("same", "again")
    }
    assert len(digests) == 1


def test_a_child_process_reads_from_linked_folders(
    data: StageData, tokens_dir: Path, tmp_path: Path
) -> None:
    class Scattered(FolderFiles):
        """Each file in a folder of its own, under another name, as a store has them."""

        def local(self, name: str) -> Path:
            target = tmp_path / "store" / hashlib.sha256(name.encode()).hexdigest() / "blob"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(super().local(name), target)
            return target

    for _ in range(2):
        tokens = materialise(Scattered(tokens_dir), tmp_path / "tokens")
        mixture = materialise(Scattered(tmp_path / "mix"), tmp_path / "linked-mix")
    again = StageData.from_folders(tokens, mixture)
    assert (again.batch(1, 40).tokens_BT1 == data.batch(1, 40).tokens_BT1).all()
    opened = StageData.open(Scattered(tokens_dir), Scattered(tmp_path / "mix"))
    assert (opened.batch(1, 40).doc_BT1 == data.batch(1, 40).doc_BT1).all()


def test_a_mixture_of_other_shards_is_refused(
    data: StageData, tokens_dir: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tokens_dir, other)
    index = (other / "index.json").read_text()
    (other / "index.json").write_text(index.replace('"qa"', '"qb"'))
    with pytest.raises(DataError, match="other token shards"):
        StageData.from_folders(other, tmp_path / "mix")


def test_step_tells_shares_and_warnings(tokens_dir: Path, tmp_path: Path, run: Any) -> None:
    groups = {"cot": 0.5, "zh": {"category": "foundation", "lang": ["zh"], "weight": 0.5}}
    metrics = run(tokens_dir, tmp_path, mixture={"groups": groups})
    assert metrics["n_sequences"] == 250
    assert metrics["tokens"] == 4000
    assert metrics["shares"]["category"] == {"cot": 0.5, "foundation": 0.5}
    assert metrics["shares"]["lang"] == {"en": 0.5, "zh-Hans": 0.5}
    codes = {(w["code"], w["subject"]) for w in metrics["warnings"]}
    assert ("category_high", "cot") in codes
    assert ("source_high", "qa") in codes
    assert any(code == "unused" for code, _ in codes)
    assert json.loads((tmp_path / "mixture.json").read_text())["audit"] == metrics
    json.dumps(metrics, allow_nan=False)


def test_step_refuses_more_passes_than_allowed(tokens_dir: Path, tmp_path: Path, run: Any) -> None:
    with pytest.raises(ConfigError, match="on_exhausted"):
        run(tokens_dir, tmp_path, tokens="1M", mixture={"groups": GROUPS})
