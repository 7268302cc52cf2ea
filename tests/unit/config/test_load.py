"""Configuration: overrides, units, and an error for each mistake that names file, key and mend."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from openseek.config.load import load_config
from openseek.errors import ConfigError

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "configs" / "demo.yaml"


def test_demo_loads_and_an_override_changes_one_key() -> None:
    plain = load_config(DEMO)
    changed = load_config(DEMO, ["stages.foundation.tokens=2M"])
    assert changed.stages["foundation"].tokens == 2_000_000
    assert plain.stages["integration"] == changed.stages["integration"]
    assert {s.category for s in plain.sources} == {"foundation", "code", "math", "cot"}


def test_runtime_is_in_no_identity() -> None:
    plain = load_config(DEMO)
    moved = load_config(DEMO, ["runtime.workers=7", "runtime.store=s3://elsewhere/x"])
    assert plain.identity() == moved.identity()
    assert plain.identity() != load_config(DEMO, ["seed=18"]).identity()


def test_sources_are_addressed_by_name() -> None:
    name = load_config(DEMO).sources[0].name
    changed = load_config(DEMO, [f"sources.{name}.max_bytes=1MB"])
    assert changed.sources[0].max_bytes == 1_000_000


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("stages.foundation.tokns=2M", ["stages.foundation.tokns", "did you mean 'tokens'"]),
        ("stages.foundation.tokens=many", ["stages.foundation.tokens", "'many'", "2M"]),
        ("seed=-1", ["seed", "-1"]),
        ("name=Demo Run", ["name", "'Demo Run'", "lower-case"]),
        ("sequence_length=[1]", ["sequence_length"]),
        ("sources.nothing.max_bytes=1", ["no item 'nothing'", "sources.nothing"]),
        ("seed", ["key.path=value", "'seed'"]),
        ("train.micro_batch=5", ["batch_sequences=16", "micro_batch=5"]),
    ],
)
def test_mistakes_name_key_value_and_mend(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(DEMO, [override])
    for part in parts:
        assert part in str(caught.value)


def test_mixture_that_does_not_sum(tmp_path: Path) -> None:
    raw = {
        "extends": str(DEMO),
        "stages": {"foundation": {"mixture": {"preset": "", "groups": {"code": 0.5, "math": 0.4}}}},
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "0.9" in str(caught.value)
    assert "stages.foundation.mixture" in str(caught.value)


def test_missing_file_lists_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("name: x")
    with pytest.raises(ConfigError, match=r"small\.yaml"):
        load_config(tmp_path / "smal.yaml")


def test_broken_yaml_and_loops_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [unclosed")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(broken)
    loop = tmp_path / "loop.yaml"
    loop.write_text("extends: loop.yaml")
    with pytest.raises(ConfigError, match="extends itself"):
        load_config(loop)
