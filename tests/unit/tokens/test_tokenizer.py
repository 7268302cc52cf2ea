from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.config.tokens import TokenizerConfig
from openseek.errors import ConfigError, DataError
from openseek.tokens import (
    Tokenizer,
    copy_tokenizer,
    load_tokenizer,
    take_sample,
    train_bpe,
    train_tokenizer,
)
from openseek.tokens.bpe import share_equally

TRAIN = """
import sys
from pathlib import Path
from openseek.config.tokens import TokenizerConfig
from openseek.tokens import take_sample, train_bpe
config = TokenizerConfig(vocab_size=512)
shards = sorted(Path(sys.argv[1]).glob("*.parquet"))
train_bpe([p.text for p in take_sample(shards, config)], config, Path(sys.argv[2]))
"""


@pytest.fixture(scope="session")
def tokenizer(tokenizer_dir: Path) -> Tokenizer:
    return load_tokenizer(tokenizer_dir)


@settings(max_examples=100)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str, tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode_batch([text])[0]) == text


def test_text_that_spells_a_special_token_stays_text(tokenizer: Tokenizer) -> None:
    (ids,) = tokenizer.encode_batch(["a <|eos|> b <|bos|>"])
    assert not {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id} & set(ids.tolist())


def test_digits_are_never_joined(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode_batch(["1234567"])[0]) == 7


def test_training_gives_the_same_bytes_on_any_number_of_threads(
    documents_dir: Path, tmp_path: Path
) -> None:
    digests = set()
    for threads in ("1", "3"):
        out = tmp_path / threads
        env = os.environ | {"RAYON_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", TRAIN, documents_dir, out], check=True, env=env)
        files = sorted(out.iterdir())
        digests.add(hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest())
    assert len(digests) == 1


def test_transformers_loads_it_without_code_and_agrees(
    tokenizer_dir: Path, tokenizer: Tokenizer
) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(tokenizer_dir))
    text = "the router sends 12 tokens\n\n  to 六个专家, 'each' of them"
    ids = tokenizer.encode_batch([text])[0].tolist()
    assert theirs(text, add_special_tokens=False).input_ids == ids
    assert theirs(text).input_ids == [tokenizer.bos_id, *ids]
    assert theirs.decode(ids) == text
    marks = (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id, len(theirs))
    assert marks == (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.vocab_size)


@given(
    available=st.dictionaries(st.text(max_size=3), st.integers(0, 1000), max_size=6),
    budget=st.integers(0, 3000),
)
def test_equal_shares_use_the_budget_and_no_more_than_there_is(
    available: dict[str, int], budget: int
) -> None:
    shares = share_equally(available, budget)
    assert sum(shares.values()) == min(budget, sum(available.values()))
    assert all(0 <= shares[k] <= available[k] for k in available)
    waiting = [shares[k] for k in available if shares[k] < available[k]]
    assert all(shares[k] <= min(waiting) + 1 for k in available if waiting)


def test_the_sample_is_balanced(documents_dir: Path, synthetic_dir: Path) -> None:
    shards = [*sorted(documents_dir.glob("*")), *synthetic_dir.glob("*")]
    sample = take_sample(shards, TokenizerConfig(sample=4000, document_bytes=60))
    sizes: dict[tuple[str, str], int] = {}
    for piece in sample:
        key = (piece.category, piece.lang)
        sizes[key] = sizes.get(key, 0) + len(piece.text.encode())
    assert sizes.keys() == {
        ("foundation", "en"), ("foundation", "zh-Hans"), ("code", "code"), ("math", "en"),
        ("cot", "en"),
    }  # fmt: skip
    assert sizes["code", "code"] == pytest.approx(1000, abs=60)
    assert sizes["foundation", "en"] == pytest.approx(500, abs=60)
    assert sizes["foundation", "zh-Hans"] == pytest.approx(500, abs=60)
    assert max(len(piece.text.encode()) for piece in sample) <= 60


def run(config: TokenizerConfig, documents: Path, out: Path) -> dict:
    inputs = {"documents": FolderFiles(documents)}
    return train_tokenizer(
        StepContext(config, inputs, FolderOutput(out), RuntimeConfig(offline=True))
    )


def test_step_reports_what_it_trained(documents_dir: Path, tmp_path: Path) -> None:
    metrics = run(TokenizerConfig(vocab_size=400), documents_dir, tmp_path)
    made = load_tokenizer(tmp_path)
    assert metrics["vocab_size"] == made.vocab_size == 400
    assert metrics["digest"] == made.digest
    assert metrics["trained"]
    assert set(metrics["bytes_per_token_by_category"]) == {"foundation", "code", "math"}
    assert metrics["sample_bytes"] == sum(metrics["sample_by_lang"].values()) > 0


def test_a_configured_tokenizer_is_copied(
    tokenizer_dir: Path, documents_dir: Path, tmp_path: Path
) -> None:
    config = TokenizerConfig(path=str(tokenizer_dir))
    metrics = run(config, documents_dir, tmp_path)
    assert not metrics["trained"]
    assert load_tokenizer(tmp_path) == load_tokenizer(tokenizer_dir)


def test_copy_names_marks_and_drops_code(tokenizer_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "tokenizer.json").write_bytes((tokenizer_dir / "tokenizer.json").read_bytes())
    declared = {
        "eos_token": {"content": "<|eos|>", "special": True},
        "auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]},
        "tokenizer_class": "EvilTokenizer",
        "chat_template": "{{ messages }}",
    }
    (source / "tokenizer_config.json").write_text(json.dumps(declared))
    config = TokenizerConfig(path=str(source), bos_token="<|pad|>")
    copy_tokenizer(config, tmp_path / "out")
    made = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert "auto_map" not in made
    assert made["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert made["chat_template"] == "{{ messages }}"
    loaded = load_tokenizer(tmp_path / "out")
    assert (loaded.bos_id, loaded.eos_id, loaded.pad_id) == (2, 1, 1)


def test_a_configured_tokenizer_that_cannot_be_used_says_why(
    tokenizer_dir: Path, tmp_path: Path
) -> None:
    path = str(tokenizer_dir)
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="digest"):
        copy_tokenizer(TokenizerConfig(path=path, digest="00ff"), out)
    with pytest.raises(ConfigError, match="no such folder"):
        copy_tokenizer(TokenizerConfig(path=str(tmp_path / "none")), out)
    with pytest.raises(ConfigError, match="offline"):
        copy_tokenizer(TokenizerConfig(path="someone/something"), out, offline=True)
    copy_tokenizer(TokenizerConfig(path=path, bos_token="<|absent|>"), out)
    with pytest.raises(DataError, match=r"absent.*vocabulary"):
        load_tokenizer(out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path / "empty")


def test_a_damaged_tokenizer_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BP')
    with pytest.raises(DataError, match="not a tokenizer"):
        load_tokenizer(tmp_path)


def test_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no text"):
        train_bpe([], TokenizerConfig(), tmp_path)


@pytest.mark.parametrize(
    ("values", "told"),
    [({"digest": "ab"}, "set path"), ({"bos_token": "<|eos|>"}, "must differ")],
)
def test_impossible_settings_are_refused(values: dict, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        TokenizerConfig(**values)
