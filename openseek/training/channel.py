"""What ranks and their parent say to each other through the job's folder.

Ranks that are no children of the parent (Ray, torchrun, another node) share only that folder:

    events.jsonl   lines of rank 0: start, progress, checkpoint, finished
    heartbeat      a counter the parent's side raises every second
    stop           there once the ranks must end

Nothing compares clocks of two machines: a rank measures with its own clock how long the counter
stands still. Light to import.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

EVENTS, HEARTBEAT, STOP = "events.jsonl", "heartbeat", "stop"
BEAT_S = 1.0


def sender(folder: Path) -> Callable[[str], None]:
    """Return a function that appends a line to the events of a job."""

    def send(line: str) -> None:
        target = os.open(folder / EVENTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(target, (line + "\n").encode())
        finally:
            os.close(target)

    return send


class Tail:
    """Read the whole lines that were appended to the events of a job since the last call."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENTS
        self._offset = 0

    def lines(self) -> list[str]:
        """Return new lines, oldest first; none while there is no file."""
        try:
            with self._path.open("rb") as f:
                f.seek(self._offset)
                data = f.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode().splitlines()


class Heartbeat:
    """Show ranks on other nodes that their parent lives, until `stop`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done = threading.Event()
        self._write(0)
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._thread.start()

    def stop(self) -> None:
        """Tell the ranks to end, and beat no more."""
        self._done.set()
        self._thread.join()
        tell_to_stop(self._folder)

    def _beat(self) -> None:
        count = 0
        while not self._done.wait(BEAT_S):
            count += 1
            try:
                self._write(count)
            except FileNotFoundError:  # the job is over and its folder gone
                return

    def _write(self, count: int) -> None:
        staged = self._folder / f".{HEARTBEAT}.{os.getpid()}"
        staged.write_text(str(count), encoding="utf-8")
        staged.replace(self._folder / HEARTBEAT)


def tell_to_stop(folder: Path) -> None:
    """Have all ranks of a job end; a job whose folder is gone has none."""
    try:
        (folder / STOP).touch()
    except FileNotFoundError:
        return


def end_with_parent(folder: Path, lost_s: float) -> None:
    """End this process as soon as the job is stopped or its parent is lost; returns at once.

    Args:
        folder: The job's folder.
        lost_s: Seconds without a heartbeat after which the parent counts as lost.
    """
    threading.Thread(target=_watch, args=(folder, lost_s), daemon=True, name="parent").start()


def _watch(folder: Path, lost_s: float) -> None:
    last, since = "", time.monotonic()
    pause = threading.Event()
    while not (folder / STOP).exists():
        try:
            count = (folder / HEARTBEAT).read_text(encoding="utf-8")
        except OSError:
            count = last
        now = time.monotonic()
        if count != last:
            last, since = count, now
        elif now - since > lost_s:
            _leave(f"no sign of life from the parent for {lost_s:.0f} s")
        pause.wait(BEAT_S)
    _leave("the job was stopped")


def _leave(why: str) -> NoReturn:
    print(f"rank {os.environ.get('RANK', '?')} ends: {why}", file=sys.stderr, flush=True)
    os._exit(3)


def event(kind: str, **fields: Any) -> str:
    """Write an event as a line."""
    return json.dumps({"event": kind, **fields})
