"""Leases: who is working on a step.

A lease only saves double work; correctness never depends on it, since the manifest's exclusive
create decides. It is taken over when its owner is a dead process of this host, when it has not
been renewed for its lifetime by the observer's own clock, or when it expired a lifetime ago.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from openseek.artifacts.backend import Backend
from openseek.errors import OpenSeekError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseRecord:
    """What `_LEASE.json` holds.

    Attributes:
        owner: Attempt that works on the step.
        process: host/boot/pid/start, which tells a dead process from a live one on the same host.
        fence: Raised by one on every takeover.
        renewed: Count of renewals, so that an observer sees life without comparing clocks.
        expires: Unix time after which the lease is stale by the owner's clock.
        ttl_s: Its lifetime.
    """

    owner: str
    process: str
    fence: int
    renewed: int
    expires: float
    ttl_s: float


def this_process() -> str:
    """Name this process uniquely: host, boot, pid and start time."""
    return f"{socket.gethostname()}/{_boot_id()}/{os.getpid()}/{_start_time(os.getpid())}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_time(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def process_is_dead(process: str) -> bool:
    """Tell whether a process is certainly gone; False when it may live on another host."""
    host, boot, pid, start = process.split("/")
    if host != socket.gethostname():
        return False
    return boot != _boot_id() or _start_time(int(pid)) != start


class Lease:
    """Hold `path` for one attempt; renewed in a thread at a third of its time."""

    def __init__(self, backend: Backend, path: str, owner: str, ttl_s: float) -> None:
        self._backend = backend
        self._path = path
        self._ttl_s = ttl_s
        self._record = LeaseRecord(owner, this_process(), 0, 0, time.time() + ttl_s, ttl_s)
        self._seen: tuple[str, float] = ("", 0.0)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def try_acquire(self) -> LeaseRecord | None:
        """Take the lease; returns None when it is ours now, else the live holder's record."""
        if self._backend.create(self._path, self._data()):
            self._start()
            return None
        try:
            data, version = self._backend.read(self._path)
        except FileNotFoundError:
            return self.try_acquire()
        current = LeaseRecord(**json.loads(data))
        if not self._is_stale(current, version):
            return current
        self._record = LeaseRecord(
            self._record.owner,
            self._record.process,
            current.fence + 1,
            0,
            time.time() + self._ttl_s,
            self._ttl_s,
        )
        if self._backend.swap(self._path, self._data(), version):
            log.info("lease=taken_over path=%s from=%s", self._path, current.owner)
            self._start()
            return None
        return current

    def release(self) -> None:
        """Stop renewing and give the lease up, if it is still ours."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        try:
            data, _ = self._backend.read(self._path)
            if LeaseRecord(**json.loads(data)).owner == self._record.owner:
                self._backend.remove(self._path)
        except (FileNotFoundError, OpenSeekError) as error:
            log.warning("lease=not_released path=%s error=%s", self._path, error)

    def _is_stale(self, current: LeaseRecord, version: str) -> bool:
        if process_is_dead(current.process):
            return True
        now = time.monotonic()
        if self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] > current.ttl_s or time.time() > current.expires + current.ttl_s

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        wait: Callable[[float], bool] = self._stop.wait
        while not wait(self._ttl_s / 3):
            try:
                data, version = self._backend.read(self._path)
                if LeaseRecord(**json.loads(data)).owner != self._record.owner:
                    log.warning("lease=lost path=%s", self._path)
                    return
                old = self._record
                self._record = LeaseRecord(
                    old.owner,
                    old.process,
                    old.fence,
                    old.renewed + 1,
                    time.time() + self._ttl_s,
                    self._ttl_s,
                )
                self._backend.swap(self._path, self._data(), version)
            except (OSError, OpenSeekError) as error:
                log.warning("lease=renewal_failed path=%s error=%s", self._path, error)

    def _data(self) -> bytes:
        return json.dumps(asdict(self._record)).encode()
