from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openseek.errors import DataError
from openseek.mixture import StageData
from openseek.mixture.stream import Stream

CATEGORIES = {"foundation": 0.5, "code": 0.2, "math": 0.2, "cot": 0.1}
LAW = {"category": "foundation", "domain": ["law"], "weight": 0.3}
ODD = {"category": "foundation", "domain": ["seas", "general"], "weight": 0.4}
SELECTING = {"law": LAW, "odd": ODD, "foundation": 0.3}


def open_stage(run: Any, tokens: Path, out: Path, groups: Any, **values: Any) -> StageData:
    run(tokens, out, mixture={"groups": groups, "max_epochs": 20}, **values)
    return StageData.from_folders(tokens, out)


def naive(tokens: Path, wanted: set[str]) -> list[int]:
    """The tokens of foundation's documents of some domains, in order of shards."""
    found: list[int] = []
    for shard in json.loads((tokens / "index.json").read_text())["shards"]:
        kinds = ("tokens", "starts", "domains")
        load = {k: np.load(tokens / f"{shard['name']}.{k}.npy") for k in kinds}
        for segment in shard["segments"]:
            first = segment["first_document"]
            for number in range(first, first + segment["documents"]):
                name = shard["domains"][load["domains"][number]]
                if segment["category"] == "foundation" and name in wanted:
                    begin, end = load["starts"][number : number + 2]
                    found += load["tokens"][begin:end].tolist()
    return found


def test_labels_change_nothing_where_no_group_asks_for_them(
    tokens_dir: Path, labelled_dir: Path, tmp_path: Path, run: Any
) -> None:
    stages = [
        open_stage(run, folder, tmp_path / name, CATEGORIES)
        for name, folder in (("plain", tokens_dir), ("labelled", labelled_dir))
    ]
    plain, labelled = (stage.batch(0, stage.n_sequences) for stage in stages)
    assert (plain.tokens_BT1 == labelled.tokens_BT1).all()
    assert (plain.doc_BT1 == labelled.doc_BT1).all()
    assert (plain.category_B == labelled.category_B).all()
    assert stages[0].document_ids(3, 10) == stages[1].document_ids(3, 10)


def test_a_group_reads_the_documents_of_its_domains_and_no_others(
    labelled_dir: Path, tmp_path: Path, run: Any
) -> None:
    data = open_stage(run, labelled_dir, tmp_path, SELECTING)
    streams = {
        "law": naive(labelled_dir, {"law"}),
        "odd": naive(labelled_dir, {"seas", "general"}),
        "foundation": naive(labelled_dir, {""}),
    }
    assert all(streams.values())
    groups, sequences = data.indices(0, data.n_sequences)
    batch = data.batch(0, data.n_sequences)
    for row, (group, sequence) in enumerate(zip(groups, sequences, strict=True)):
        first = int(sequence) * 16
        expected = streams[data.groups[group]][first : first + 17]
        assert batch.tokens_BT1[row].tolist() == expected
    begins = np.diff(batch.doc_BT1, axis=1) == 1
    assert (begins == (batch.tokens_BT1[:, 1:] == data.bos_id)).all()
    ids = data.document_ids(0, data.n_sequences)
    assert [len(row) for row in ids] == (batch.doc_BT1[:, -1] + 1).tolist()


def test_a_group_of_all_domains_reads_whole_segments(
    labelled_dir: Path, tmp_path: Path, run: Any
) -> None:
    everything = {"category": "foundation", "domain": ["law", "seas", "general", ""], "weight": 1}
    for name, groups in (("named", {"all": everything}), ("open", {"foundation": 1})):
        open_stage(run, labelled_dir, tmp_path / name, groups)
    named, whole = (
        json.loads((tmp_path / name / "mixture.json").read_text())["groups"][0]
        for name in ("named", "open")
    )
    assert "selected" not in named
    assert named["segments"] == whole["segments"]


def test_shares_and_counts_are_those_of_the_documents(
    labelled_dir: Path, tmp_path: Path, run: Any
) -> None:
    metrics = run(labelled_dir, tmp_path, mixture={"groups": SELECTING, "max_epochs": 20})
    by_name = {g["name"]: g for g in metrics["groups"]}
    assert by_name["law"]["available_tokens"] == len(naive(labelled_dir, {"law"}))
    assert by_name["foundation"]["available_tokens"] == len(naive(labelled_dir, {""}))
    assert metrics["shares"]["domain"]["law"] == pytest.approx(0.3, abs=0.01)


def test_shards_of_other_domains_are_refused(labelled_dir: Path, tmp_path: Path, run: Any) -> None:
    shutil.copytree(labelled_dir, tmp_path / "tokens")
    data = open_stage(run, tmp_path / "tokens", tmp_path / "mix", SELECTING)
    for path in (tmp_path / "tokens").glob("*.domains.npy"):
        np.save(path, np.zeros_like(np.load(path)))
    with pytest.raises(DataError, match="other domains"):
        data.batch(0, data.n_sequences)


@given(
    documents=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 2)), min_size=1, max_size=30),
    wanted=st.sets(st.integers(0, 2), min_size=1), data=st.data(),
)  # fmt: skip
def test_pieces_of_a_selection_agree_with_a_list(
    documents: list[tuple[int, int]], wanted: set[int], data: st.DataObject
) -> None:
    """Two copies of a shard, the second read whole; every stretch of the stream."""
    starts = np.cumsum([0, *(size for size, _ in documents)])
    arrays = {"starts": starts, "domains": np.array([d for _, d in documents], np.uint16)}
    total = int(starts[-1])
    flat = [
        (0, token)
        for (size, domain), begin in zip(documents, starts, strict=False)
        for token in range(begin, begin + size)
        if domain in wanted
    ]
    segments, selected = [[1, 0, total]], {}
    if 0 < len(flat) < total:
        segments.insert(0, [0, 0, len(flat)])
        selected = {"0": {"tokens": total, "domains": sorted(wanted)}}
    else:
        flat = []
    flat += [(1, token) for token in range(total)]
    group = {"available_sequences": 1, "segments": segments, "selected": selected}
    stream = Stream(group, 1, lambda _, kind: arrays[kind])
    first = data.draw(st.integers(0, len(flat) - 1))
    length = data.draw(st.integers(1, len(flat) - first))
    found = [
        (shard, token)
        for shard, begin, size in stream.pieces(first, length)
        for token in range(begin, begin + size)
    ]
    assert found == flat[first : first + length]
