"""Time asking a chat endpoint against other clients: `python benchmarks/synthesis.py [--json]`.

2,000 requests at a concurrency of 64 to a server of our own that answers each after 50 ms
(`synthesis_server.py`, a process of its own), so 1.5625 s is the least they can take. Ours asks
as the step does (prompts, request cache on disk, answers parsed); the openai client and NeMo
Curator's send and parse, bespoke curator keeps its answers too. Bare sockets send prepared bytes
and parse nothing: what is between them and the least is this machine's. Everybody runs in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import harness

HERE = Path(__file__).resolve().parent
PROGRAM = HERE / "programs" / "ask.py"
SERVER = HERE / "synthesis_server.py"
PEERS = {
    "bare sockets": "asyncio",
    "openai": "openai",
    "bespoke curator": "bespokelabs.curator",
    "NeMo Curator": "nemo_curator.models.client",
}
NAMES = {
    "bare sockets": "bare",
    "openai": "openai",
    "bespoke curator": "curator",
    "NeMo Curator": "nemo",
}


def measure(n: int, concurrency: int, delay_s: float, runs: int) -> list[harness.Row]:
    """Run everybody in turns; a row a peer, rates in requests per second."""
    command = [sys.executable, str(SERVER), str(delay_s), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            return _measure(port, n, concurrency, delay_s, runs)
        finally:
            server.terminate()


def _measure(port: str, n: int, concurrency: int, delay_s: float, runs: int) -> list[harness.Row]:
    args = (port, str(n), str(concurrency))
    mine = harness.ours(PROGRAM, "openseek", *args)
    others = [
        harness.peer(name, PROGRAM, NAMES[name], *args, package=package)
        for name, package in PEERS.items()
    ]
    found: dict[str, list[harness.Usage]] = {}
    with tempfile.TemporaryDirectory() as logs:
        for i in range(runs):
            for one in (mine, *others):
                if not one.missing:
                    usage = harness.run(one, Path(logs) / "log")
                    found.setdefault(one.name, []).append(usage)
                    told = f"run {i + 1} of {runs}, {one.name}: {json.dumps(usage.answer)}"
                    print(told, file=sys.stderr, flush=True)
    ideal = n * delay_s / concurrency
    return [_row(one, found, mine.name, n, ideal) for one in others]


def _row(
    one: harness.Contender, found: dict[str, list[harness.Usage]], mine: str, n: int, ideal: float
) -> harness.Row:
    def seconds(name: str) -> float:
        return statistics.median(u.answer["seconds"] for u in found[name])

    def told(name: str) -> harness.Json:
        return {
            "over_ideal": round(seconds(name) / ideal, 3),
            "good": found[name][-1].answer["good"],
            "grown_mb": [
                None if u.answer["grown_bytes"] is None else round(u.answer["grown_bytes"] / 1e6, 1)
                for u in found[name]
            ],
            "client_cpu_s": [u.answer["client_cpu_s"] for u in found[name]],
        }

    own = seconds(mine)
    size = {"documents": n, "ideal_s": ideal, "ours": harness.figures(found[mine])}
    agreement = {"ours": told(mine)}
    if one.missing:
        agreement["missing"] = {"why": one.missing}
        return harness.Row("ask", one.name, n / own, None, "requests/s", None, agreement, size)
    theirs = seconds(one.name)
    agreement["theirs"] = told(one.name)
    size["theirs"] = harness.figures(found[one.name])
    return harness.Row(
        "ask", one.name, n / own, n / theirs, "requests/s", theirs / own, agreement, size
    )


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=2000, help="Requests of a run.")
    parser.add_argument("--concurrency", type=int, default=64, help="Requests in flight.")
    parser.add_argument("--delay", type=float, default=0.05, help="Seconds until an answer.")
    parser.add_argument("--runs", type=int, default=3, help="Rounds; everybody runs once in each.")
    parser.add_argument("--json", action="store_true", help="Print a list of objects.")
    given = parser.parse_args()
    rows = measure(given.requests, given.concurrency, given.delay, given.runs)
    if given.json:
        print(json.dumps([r.to_json() for r in rows], ensure_ascii=False))
        return
    for row in rows:
        theirs = "-" if row.theirs is None else f"{row.theirs:.0f}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}x"
        print(f"{row.work} {row.peer:16} ours {row.ours:.0f}  theirs {theirs} {row.unit}  {ratio}")
        print(f"     {json.dumps(row.agreement, ensure_ascii=False)}")


if __name__ == "__main__":
    main()
