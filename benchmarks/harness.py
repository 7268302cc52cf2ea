"""Run programs against each other: whole processes, in turns, on the same input.

A contender is a command line. What it costs is taken from outside, over the process and all its
descendants: wall time, CPU seconds, and the peak of the resident memory. Its last line of stdout
may be a JSON object, which the comparison looks at (documents kept, pairs found).
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-bench" / "bin" / "python"
"""The interpreter with the peers, made by `make bench`."""

SAMPLE_S = 0.05
Json = dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """A program to measure.

    Attributes:
        name: Ours, or the peer's name and version.
        command: Command line. `{out}` stands for a fresh empty folder.
        missing: Why it cannot run here; empty: it can.
    """

    name: str
    command: tuple[str, ...]
    missing: str = ""


@dataclass(frozen=True)
class Usage:
    """What one run cost.

    Attributes:
        wall_s: Seconds from start to exit.
        cpu_s: CPU seconds of the process and its descendants.
        peak_bytes: Largest sum of their resident memory, sampled; shared pages count each time.
        answer: The JSON object of the last line of stdout.
        root_peak_bytes: Peak of the first process, as the kernel keeps it.
        worker_peak_bytes: Largest peak of a Ray worker, likewise; 0 without Ray.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    answer: Json = field(default_factory=dict)
    root_peak_bytes: int = 0
    worker_peak_bytes: int = 0


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        work: What was done.
        peer: Who else did it.
        ours: Our rate, in `unit`.
        theirs: The peer's rate, in `unit`; None where it is missing.
        unit: Unit of both rates.
        ratio: Ours over theirs.
        agreement: How far the results agree, and what the runs found.
        runs: Every run's figures, ours and theirs.
    """

    work: str
    peer: str
    ours: float
    theirs: float | None
    unit: str
    ratio: float | None
    agreement: Json
    runs: Json

    def to_json(self) -> Json:
        """Dump as JSON."""
        return asdict(self)


def peer(name: str, script: Path, *args: str, package: str) -> Contender:
    """Make the contender that runs `script` with an interpreter that has the peer.

    Args:
        name: How it is called in the table.
        script: Program.
        *args: Its arguments.
        package: Module that must be here or in the peers' environment, else the contender is named
            as missing.
    """
    missing, python = "", sys.executable
    if not _has(python, package):
        python = str(PEERS)
        if not PEERS.exists():
            missing = f"no {package} here and no {PEERS.parent.parent.name}: run `make bench`"
        elif not _has(python, package):
            missing = f"{package} is neither here nor in {PEERS.parent.parent.name}"
    return Contender(name, (python, "-W", "ignore", str(script), *args), missing)


def _has(python: str, package: str) -> bool:
    tops = [one.split(".")[0].strip() for one in package.split(",")]
    if python == sys.executable and any(importlib.util.find_spec(top) is None for top in tops):
        return False  # without the seconds that an import takes
    command = [python, "-c", f"import {package}"]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def ours(script: Path, *args: str) -> Contender:
    """Make the contender that runs `script` with this interpreter."""
    return Contender("openseek", (sys.executable, str(script), *args))


def run(contender: Contender, log: Path) -> Usage:
    """Run a contender once.

    Raises:
        RuntimeError: It failed; the message ends with its last output.
    """
    with tempfile.TemporaryDirectory() as out, log.open("w") as errors:
        command = [a.replace("{out}", out) for a in contender.command]
        started = time.perf_counter()
        process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT)
        lines: list[bytes] = []
        cpu, peak, peaks = _watch(process, lines)
        wall = time.perf_counter() - started
    if process.returncode:
        tail = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{contender.name} failed ({process.returncode}): {tail}")
    last = lines[-1] if lines else b"{}"
    answer = json.loads(last) if last.startswith(b"{") else {}
    workers = max((n for pid, n in peaks.items() if pid != process.pid), default=0)
    root = peaks.get(process.pid, 0)
    return Usage(round(wall, 3), round(cpu, 3), peak, answer, root, workers)


def _watch(process: psutil.Popen, lines: list[bytes]) -> tuple[float, int, dict[int, int]]:
    """Sample a process tree until it ends.

    Returns:
        Its CPU seconds, the peak of its memory, and the peaks of the root and of Ray's workers.

    A descendant that ends between two samples loses its last 50 ms; what the root waited for is
    in the root's own children times, and counts once.
    """
    import threading

    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    seen: dict[tuple[int, float], float] = {}
    peaks: dict[int, int] = {}
    peak = 0
    while process.poll() is None:
        resident = 0
        for p in _tree(process):
            try:
                with p.oneshot():
                    times = p.cpu_times()
                    seen[p.pid, p.create_time()] = times.user + times.system
                    resident += p.memory_info().rss
                    if p.pid == process.pid or p.name().startswith("ray::"):
                        peaks[p.pid] = max(peaks.get(p.pid, 0), _high_water(p.pid))
            except psutil.Error:
                continue
        peak = max(peak, resident)
        time.sleep(SAMPLE_S)
    reader.join(timeout=10)
    return sum(seen.values()), peak, peaks


def _high_water(pid: int) -> int:
    """Read the peak of a process's resident memory, in bytes; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = [line for line in lines.splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(found[0].split()[1]) if found else 0


def _tree(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def compare(
    work: str,
    mine: Contender,
    peers: Sequence[Contender],
    *,
    n_bytes: int,
    n_documents: int,
    runs: int = 3,
    agree: Callable[[Json, Json], Json] = lambda ours, theirs: {},
    note: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> list[Row]:
    """Run everybody in turns and compare the medians.

    Args:
        work: What is done.
        mine: Our contender.
        peers: The others.
        n_bytes: Size of the input text, in bytes.
        n_documents: Documents of the input.
        runs: Rounds; in each, everybody runs once.
        agree: (our answer, theirs) -> how far they agree.
        note: Receives a line a run.

    Returns:
        A row a peer, in MB per CPU-second; where there is none, one row of ours alone.
    """
    found: dict[str, list[Usage]] = {}
    with tempfile.TemporaryDirectory() as logs:
        for i in range(runs):
            for one in (mine, *peers):
                if one.missing:
                    continue
                usage = run(one, Path(logs) / "log")
                found.setdefault(one.name, []).append(usage)
                note(f"{work}: run {i + 1} of {runs}, {one.name}: {_line(usage, n_bytes)}")
    mean = statistics.median(u.cpu_s for u in found[mine.name])
    rate = n_bytes / 1e6 / mean
    size = {"bytes": n_bytes, "documents": n_documents}
    rows = []
    for one in peers:
        if one.missing:
            rows.append(
                Row(work, one.name, rate, None, "MB/CPU-s", None, {"missing": one.missing}, size)
            )
            continue
        theirs = n_bytes / 1e6 / statistics.median(u.cpu_s for u in found[one.name])
        agreement = agree(found[mine.name][-1].answer, found[one.name][-1].answer)
        costs = {**size, "ours": figures(found[mine.name]), "theirs": figures(found[one.name])}
        rows.append(Row(work, one.name, rate, theirs, "MB/CPU-s", rate / theirs, agreement, costs))
    if not peers:
        costs = {**size, "ours": figures(found[mine.name])}
        rows.append(Row(work, "", rate, None, "MB/CPU-s", None, {}, costs))
    return rows


def figures(usages: Sequence[Usage]) -> list[Json]:
    """Lay out what runs cost, for a row."""
    return [{"wall_s": u.wall_s, "cpu_s": u.cpu_s, "peak_bytes": u.peak_bytes} for u in usages]


def _line(u: Usage, n_bytes: int) -> str:
    return (
        f"{u.wall_s:.1f} s, {u.cpu_s:.1f} CPU-s, {n_bytes / 1e6 / u.cpu_s:.2f} MB/CPU-s, "
        f"peak {u.peak_bytes / 1e6:.0f} MB"
    )


def table(rows: Sequence[Row]) -> str:
    """Lay out rows for a terminal."""
    head = ["work", "peer", "ours", "theirs", "unit", "ratio", "docs/s", "peak MB", "agreement"]
    body = [head]
    for r in rows:
        mine = r.runs.get("ours", [])
        wall = statistics.median(u["wall_s"] for u in mine) if mine else None
        body.append(
            [
                r.work,
                r.peer,
                f"{r.ours:.2f}",
                "-" if r.theirs is None else f"{r.theirs:.2f}",
                r.unit,
                "-" if r.ratio is None else f"{r.ratio:.1f}x",
                f"{r.runs['documents'] / wall:,.0f}" if wall else "-",
                f"{max(u['peak_bytes'] for u in mine) / 1e6:.0f}" if mine else "-",
                json.dumps(r.agreement, ensure_ascii=False),
            ]
        )
    widths = [max(len(row[i]) for row in body) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in body
    )
