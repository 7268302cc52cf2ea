"""Start the real command line on the tiny configuration; used by the end-to-end and fault tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TINY = ROOT / "configs" / "tiny.yaml"
OPENSEEK = str(Path(sys.executable).parent / "openseek")


@dataclass
class Bench:
    """A folder with everything that one run touches.

    Attributes:
        home: Working folder of the commands.
        store: Root of the artifact store.
        extra: More environment variables.
    """

    home: Path
    store: str
    extra: dict[str, str]

    @classmethod
    def make(cls, home: Path, store: str = "", **extra: str) -> Bench:
        """Lay out the folder, with evaluation items of our own."""
        home.mkdir(parents=True, exist_ok=True)
        items = home / "items"
        items.mkdir(exist_ok=True)
        for task, choices in (("openbookqa", 4), ("arc_easy", 3)):
            rows = [
                {
                    "id": f"{task}-{i}",
                    "query": f"The module number {i} reads a file and then it",
                    "choices": [f" closes file {i + k}." for k in range(choices)],
                    "gold": i % choices,
                }
                for i in range(6)
            ]
            (items / f"{task}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        return cls(home, store or str(home / "store"), extra)

    def env(self) -> dict[str, str]:
        """Environment of the commands: own store, own Prefect home, one thread."""
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        return {
            **env,
            "OPENSEEK_STORE": self.store,
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "OMP_NUM_THREADS": "1",
            **self.extra,
        }

    def command(self, name: str = "run", *args: str) -> list[str]:
        """Write the command line of `openseek {name}` on the tiny configuration."""
        fixed = ["--set", f"benchmarks.folder={self.home / 'items'}"]
        return [OPENSEEK, name, str(TINY), *fixed, *args, "--json"]

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start a run in the background, its output going to files."""
        with (self.home / "out").open("w") as out, (self.home / "err").open("a") as err:
            return subprocess.Popen(
                self.command("run", *args), cwd=self.home, env=self.env(), text=True,
                stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip

    def run(self, *args: str, name: str = "run", fails: bool = False) -> dict[str, Any]:
        """Run a command to its end and return the last line's JSON."""
        done = subprocess.run(
            self.command(name, *args), cwd=self.home, env=self.env(), text=True,
            capture_output=True, check=False, timeout=900,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Finished:
    """A whole run that nothing disturbed.

    Attributes:
        bench: Where it ran.
        summary: What the command said at its end.
        losses: metrics.jsonl of each stage, as it was then.
    """

    bench: Bench
    summary: dict[str, Any]
    losses: dict[str, str]


def loss_lines(bench: Bench) -> dict[str, str]:
    """Read metrics.jsonl of each stage: loss by loss."""
    from openseek.artifacts import Store
    from openseek.artifacts.manifest import Manifest

    store = Store(bench.store, bench.home / "scratch")
    lines = {}
    for stage in ("foundation", "specialization", "integration"):
        ref = store.read_ref("tiny", f"train-{stage}")
        assert ref is not None
        path = f"steps/{ref['step']}/{ref['key']}/_MANIFEST.json"
        files = store.files(Manifest.from_json(store.backend.read(path)[0], path))
        lines[stage] = files.local("metrics.jsonl").read_text()
    return lines


def digests(summary: dict[str, Any]) -> dict[str, str]:
    """Content digest of every step; the report's holds times, so it is left out."""
    return {s["name"]: s["content_digest"] for s in summary["steps"] if s["name"] != "report"}


def states(summary: dict[str, Any]) -> dict[str, str]:
    """State of every step."""
    return {s["name"]: s["state"] for s in summary["steps"]}
