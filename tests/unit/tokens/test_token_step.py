from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.config.tokens import TokensConfig
from openseek.corpus.shards import write_documents
from openseek.errors import ConfigError, DataError
from openseek.tokens import load_tokenizer, step, tokenise
from openseek.tokens.shard import shard_id, token_dtype


def serial(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
    return [fn(shard, *args) for shard in shards]


@pytest.fixture(autouse=True)
def _no_ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "ray" not in request.keywords:
        monkeypatch.setattr(step, "map_shards", serial)


@pytest.fixture
def inputs(documents_dir: Path, synthetic_dir: Path, tokenizer_dir: Path) -> dict[str, FolderFiles]:
    folders = {
        "documents": documents_dir, "synthetic": synthetic_dir, "tokenizer": tokenizer_dir,
    }  # fmt: skip
    return {name: FolderFiles(folder) for name, folder in folders.items()}


def context(
    inputs: dict[str, FolderFiles], out: Path, config: TokensConfig | None = None, **runtime: Any
) -> Any:
    config = config or TokensConfig(domains=True)
    return StepContext(config, inputs, FolderOutput(out), RuntimeConfig(**runtime))


def digest(folder: Path) -> dict[str, str]:
    return {
        record.name: hashlib.sha256((folder / record.name).read_bytes()).hexdigest()
        for record in FolderFiles(folder).records()
    }


def originals(*folders: Path) -> dict[str, dict[str, Any]]:
    shards = [path for folder in folders for path in sorted(folder.glob("*.parquet"))]
    return {row["id"]: row for path in shards for row in pq.read_table(path).to_pylist()}


def test_every_document_is_there_with_its_labels(
    inputs: dict, tmp_path: Path, documents_dir: Path, synthetic_dir: Path, tokenizer_dir: Path
) -> None:
    tokenise(context(inputs, tmp_path))
    tokenizer = load_tokenizer(tokenizer_dir)
    expected = originals(documents_dir, synthetic_dir)
    index = json.loads((tmp_path / "index.json").read_text())
    seen = []
    for shard in index["shards"]:
        load = {
            kind: np.load(tmp_path / f"{shard['name']}.{kind}.npy")
            for kind in ("tokens", "starts", "bytes", "ids")
        }
        assert load["tokens"].dtype == np.uint16
        position = document = 0
        for segment in shard["segments"]:
            assert (segment["first_token"], segment["first_document"]) == (position, document)
            size, domains = 0, {}
            for number in range(document, document + segment["documents"]):
                name = load["ids"][number].decode()
                row = expected[name]
                ids = load["tokens"][load["starts"][number] : load["starts"][number + 1]]
                assert (ids[0], ids[-1]) == (tokenizer.bos_id, tokenizer.eos_id)
                assert tokenizer.decode(ids[1:-1]) == row["text"]
                assert load["bytes"][number] == len(row["text"].encode())
                labels = ("source", "category", "lang", "tier")
                assert [segment[k] for k in labels] == [row[k] for k in labels]
                mine = json.loads(row["meta"]).get("domain", "")
                domains[mine] = domains.get(mine, 0) + len(ids)
                if "domains" in shard:
                    numbers = np.load(tmp_path / f"{shard['name']}.domains.npy")
                    assert shard["domains"][numbers[number]] == mine
                size += len(row["text"].encode())
                seen.append(name)
            assert segment["bytes"] == size
            assert segment.get("domains", {"": segment["tokens"]}) == domains
            document += segment["documents"]
            position += segment["tokens"]
        assert position == len(load["tokens"]) == load["starts"][-1]
    assert sorted(seen) == sorted(expected)


def test_without_domains_shards_are_those_of_unlabelled_documents(
    inputs: dict, tmp_path: Path, documents_dir: Path
) -> None:
    bare = [row | {"meta": "{}"} for row in originals(documents_dir).values()]
    files = sorted(documents_dir.glob("*.parquet"))
    (tmp_path / "bare").mkdir()
    for path in files:
        mine = set(pq.read_table(path)["id"].to_pylist())
        write_documents(tmp_path / "bare" / path.name, [r for r in bare if r["id"] in mine])
    apart = TokensConfig(domains=False)
    tokenise(context(inputs, tmp_path / "a", apart))
    tokenise(context({**inputs, "documents": FolderFiles(tmp_path / "bare")}, tmp_path / "b"))
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_domains_do_not_change_the_order_of_documents(inputs: dict, tmp_path: Path) -> None:
    tokenise(context(inputs, tmp_path / "with"))
    tokenise(context(inputs, tmp_path / "without", TokensConfig()))
    noted = {n: d for n, d in digest(tmp_path / "with").items() if not n.endswith("domains.npy")}
    plain = digest(tmp_path / "without")
    assert {n for n in plain if plain[n] != noted[n]} == {"index.json"}
    assert set(noted) == set(plain) < set(digest(tmp_path / "with"))


@pytest.mark.parametrize("meta", ['["domain"]', '{"domain": 3}', '{"domain', '{"a": "domain"}'])
def test_odd_meta_is_no_domain(
    inputs: dict, tmp_path: Path, documents_dir: Path, meta: str
) -> None:
    (tmp_path / "in").mkdir()
    rows = list(originals(documents_dir).values())[:3]
    write_documents(tmp_path / "in" / "odd-00000.parquet", [r | {"meta": meta} for r in rows])
    inputs = {"documents": FolderFiles(tmp_path / "in"), "tokenizer": inputs["tokenizer"]}
    assert list(tokenise(context(inputs, tmp_path / "out"))["tokens"]["by_domain"]) == [""]


def test_metrics_agree_with_a_naive_count(
    inputs: dict, tmp_path: Path, documents_dir: Path, synthetic_dir: Path, tokenizer_dir: Path
) -> None:
    metrics = tokenise(context(inputs, tmp_path))
    rows = originals(documents_dir, synthetic_dir).values()
    tokenizer = load_tokenizer(tokenizer_dir)
    by_category: dict[str, Counter] = {}
    for row in rows:
        (ids,) = tokenizer.encode_batch([row["text"]])
        counter = by_category.setdefault(row["category"], Counter())
        counter.update([tokenizer.bos_id, *ids.tolist(), tokenizer.eos_id])

    def nats(counter: Counter) -> float:
        n = counter.total()
        return -sum(c / n * math.log(c / n) for c in counter.values())

    total = sum(by_category.values(), Counter())
    n_bytes = sum(len(r["text"].encode()) for r in rows)
    assert metrics["documents_in"] == metrics["documents_out"] == len(rows)
    assert metrics["bytes_in"] == metrics["bytes_out"] == n_bytes
    assert metrics["tokens"]["total"] == total.total()
    assert metrics["tokens"]["by_category"] == {c: n.total() for c, n in by_category.items()}
    assert sum(metrics["tokens"]["by_source"].values()) == total.total()
    assert sum(metrics["tokens"]["by_tier"].values()) == total.total()
    by_domain = metrics["tokens"]["by_domain"]
    assert sum(by_domain.values()) == total.total()
    assert list(by_domain) == ["", "general", "science"]
    assert metrics["bytes_per_token"] == pytest.approx(n_bytes / total.total())
    assert metrics["unigram_nats_per_token"] == pytest.approx(nats(total))
    for category, counter in by_category.items():
        assert metrics["unigram_nats_per_token_by_category"][category] == pytest.approx(
            nats(counter)
        )
        size = sum(len(r["text"].encode()) for r in rows if r["category"] == category)
        bits = nats(counter) / math.log(2) * counter.total() / size
        assert metrics["unigram_bits_per_byte_by_category"][category] == pytest.approx(bits)
    counts = np.load(tmp_path / "unigram.npy")
    assert counts.sum(axis=1).tolist() == [
        by_category.get(c, Counter()).total() for c in ("foundation", "code", "math", "cot")
    ]
    json.dumps(metrics, allow_nan=False)


def test_a_killed_step_goes_on_where_it_was(
    inputs: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tokenise(context(inputs, tmp_path / "whole"))

    def die_after_two(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> None:
        for shard in shards[:2]:
            fn(shard, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(step, "map_shards", die_after_two)
    with pytest.raises(KeyboardInterrupt):
        tokenise(context(inputs, tmp_path / "parts"))
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "parts").glob("*.npy")}
    assert len(kept) == 10

    done: list[Any] = []

    def rest(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> None:
        done.extend(shards)
        serial(fn, shards, args=args)

    monkeypatch.setattr(step, "map_shards", rest)
    assert tokenise(context(inputs, tmp_path / "parts")) == whole
    assert len(done) == 3
    assert all((tmp_path / "parts" / n).stat().st_mtime_ns == t for n, t in kept.items())
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.ray
def test_ray_workers_write_the_same_bytes(inputs: dict, tmp_path: Path, monkeypatch: Any) -> None:
    from openseek.compute import shutdown

    shutdown()
    tokenise(context(inputs, tmp_path / "ray", workers=2))
    shutdown()
    monkeypatch.setattr(step, "map_shards", serial)
    tokenise(context(inputs, tmp_path / "serial"))
    assert digest(tmp_path / "ray") == digest(tmp_path / "serial")


def test_bad_rows_are_set_aside_with_their_reason(
    inputs: dict, tmp_path: Path, documents_dir: Path
) -> None:
    (tmp_path / "in").mkdir()
    rows = list(originals(documents_dir).values())[:50]
    rows[7]["category"] = "poetry"
    rows[9]["text"] = ""
    write_documents(tmp_path / "in" / "odd.name-00000.parquet", rows)
    inputs = {**inputs, "documents": FolderFiles(tmp_path / "in")}
    inputs.pop("synthetic")
    with pytest.raises(DataError, match=r"1 of 50 .*unknown_category"):
        tokenise(context(inputs, tmp_path / "strict"))
    metrics = tokenise(context(inputs, tmp_path / "mild", max_bad_fraction=0.05))
    assert metrics["quarantined"] == {"unknown_category": 1}
    assert metrics["dropped"] == {"empty": 1}
    assert metrics["samples"]["empty"][0]["id"] == rows[9]["id"]
    assert metrics["documents_out"] == 48
    (path,) = (tmp_path / "mild" / "quarantine").glob("*.jsonl")
    assert json.loads(path.read_text())["id"] == rows[7]["id"]


def test_a_token_that_is_not_there_cannot_frame_documents(
    inputs: dict, tmp_path: Path, tokenizer_dir: Path
) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((tokenizer_dir / "tokenizer.json").read_bytes())
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|eos|>"}')
    inputs = {**inputs, "tokenizer": FolderFiles(folder)}
    with pytest.raises(ConfigError, match=r"no bos token.*tokens\.bos to false"):
        tokenise(context(inputs, tmp_path / "out"))


def test_two_shards_of_one_name_are_refused(inputs: dict, tmp_path: Path) -> None:
    inputs = {**inputs, "documents": inputs["synthetic"]}
    with pytest.raises(DataError, match="two document shards"):
        tokenise(context(inputs, tmp_path))


def test_shard_ids_are_plain_and_differ() -> None:
    given = ["a-00000.parquet", "a.b-00000.parquet", "a/b-00000.parquet", "a_b-00000.parquet"]
    made = [shard_id(name) for name in given]
    assert made[0] == "a-00000"
    assert len(set(made)) == 4
    assert all(c.isalnum() or c in "-_" for name in made for c in name)


def test_large_vocabularies_take_four_bytes() -> None:
    assert token_dtype(65_535) == np.uint16
    assert token_dtype(65_536) == np.uint32


def test_documents_must_be_told_apart() -> None:
    with pytest.raises(ValidationError, match="set one of them"):
        TokensConfig(bos=False, eos=False)
