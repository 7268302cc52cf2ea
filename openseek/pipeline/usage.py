"""Watch the memory of this process and all its children."""

from __future__ import annotations

import threading

import psutil


class MemoryWatch:
    """Sample the process tree; `peak_bytes` is the highest sum seen.

    Shared pages are counted once, in proportion (PSS), where the kernel tells; a plain sum of
    RSS would count Ray's and torch's shared libraries once for every process.
    """

    def __init__(self, every_s: float = 1.0) -> None:
        self.peak_bytes = 0
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak_bytes = max(self.peak_bytes, tree_bytes())

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.peak_bytes = max(self.peak_bytes, tree_bytes())


def tree_bytes() -> int:
    """Sum the memory of this process and its descendants, in bytes."""
    me = psutil.Process()
    return sum(_bytes(p.pid) for p in [me, *me.children(recursive=True)])


def _bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            for line in f:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # gone, or another user's
        return 0
    return 0
