"""The command line in this process, and what its tests make."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openseek.artifacts import Manifest, Spec, Store
from openseek.artifacts.attempt import Attempt
from openseek.cli.main import main

TINY = Path(__file__).parents[3] / "configs" / "tiny.yaml"


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])


class Shell:
    """Runs `openseek ...` in this process, through the entry point itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys

    def __call__(self, *args: str | Path) -> Done:
        self.monkeypatch.setattr(sys, "argv", ["openseek", *map(str, args)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self.capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)


def finish(store: Store, step: str, name: str, text: str, run: str = "first") -> Manifest:
    """Commit an artifact of one file, and point a run at it."""
    spec = Spec(step, 1, {"config": {"text": text}}, {})
    with store.attempt(spec) as attempt:
        assert isinstance(attempt, Attempt)
        path = attempt.scratch / "file"
        path.write_text(text)
        attempt.commit_shard("000000", {name: path})
        facts = {"node": step, "started": 1e9, "seconds": 2.0}
        made = store.commit(spec, attempt, {}, facts)
    ref = {"node": step, "step": step, "key": made.key, "content_digest": made.content_digest}
    store.write_ref(run, step, {**ref, "state": "ran", "seconds": 2.0, "at": 1e9})
    body = {"run": run, "state": "done", "at": 1e9, "config": {}, "nodes": [step, "export"]}
    store.write_ref(run, "_run", body)
    return made


def damage(store: Store, manifest: Manifest) -> None:
    path = Path(store.root) / manifest.folder / manifest.files[0].path
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)


def tiny(home: Path, *overrides: str) -> list[str]:
    """Arguments for the tiny configuration on one file of text."""
    (home / "text").mkdir(exist_ok=True)
    (home / "text" / "a.txt").write_text("A file of a few words.")
    source = f"{{name: a, path: ['{home}/text'], category: foundation, lang: en, license: MIT}}"
    changes = [f"sources=[{source}]", f"benchmarks.folder={home}/none", *overrides]
    return [str(TINY), *(part for change in changes for part in ("--set", change))]
