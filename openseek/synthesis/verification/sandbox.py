"""Run a Python program that nobody has read: no network, no files but its own, bounded in all.

A fresh process for each program, started by `jail` (see there for what confines it): limits of
processor time, memory, file size, processes and output; a scrubbed environment; a folder of its
own that is removed; a clock of our own, at whose end everything that it started is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from openseek.errors import PermanentError

Status = Literal["passed", "failed", "crashed", "timeout", "output"]
_JAIL = Path(__file__).with_name("jail.py")
_GRACE_S = 10.0
_KIB = 1024


@dataclass(frozen=True)
class SandboxLimits:
    """What a program may use.

    Attributes:
        cpu_s: Seconds of processor time of each of its processes.
        wall_s: Seconds until it is killed with all that it started.
        memory_bytes: Address space of each process.
        file_bytes: Size of a file; where mounts can be made, a quarter of all files together.
        processes: Processes and threads, itself among them.
        output_bytes: Output (stdout and stderr) after which it is killed.
    """

    cpu_s: int = 5
    wall_s: float = 10.0
    memory_bytes: int = 1 << 30
    file_bytes: int = 16 << 20
    processes: int = 16
    output_bytes: int = 64 * _KIB


@dataclass(frozen=True)
class SandboxResult:
    """What became of a program.

    Attributes:
        status: passed (exit code 0), failed (another code), crashed (a signal), timeout, output
            (it wrote too much).
        code: Exit code; 128 + signal where it crashed.
        output: What it wrote.
        enforced: Measure -> how it was enforced here; `open`: not at all.
    """

    status: Status
    code: int
    output: str
    enforced: dict[str, str] = field(default_factory=dict)


def run_program(
    files: Mapping[str, str], limits: SandboxLimits | None = None, *, isolate: bool = True
) -> SandboxResult:
    """Run `main.py` among some files.

    Args:
        files: Name -> text, in one flat folder; `main.py` is run.
        limits: What it may use.
        isolate: Use namespaces where the machine allows it; False to try what is left without.

    Raises:
        PermanentError: The sandbox itself does not work here.
    """
    limits = limits or SandboxLimits()
    with tempfile.TemporaryDirectory(prefix="openseek-sandbox-") as folder:
        os.chmod(folder, 0o700)
        request: dict[str, Any] = {
            "folder": os.path.realpath(folder), "files": dict(files), "limits": asdict(limits),
            "isolate": isolate, "needed": _needed(),
        }  # fmt: skip
        raw = _run(json.dumps(request).encode(), limits.wall_s + _GRACE_S)
    code = int(raw["code"])
    status: Status = raw["why"]
    if raw["why"] == "ended":
        status = "passed" if code == 0 else "failed" if 0 < code < 126 else "crashed"
    said = raw["output"].replace(request["folder"], ".")  # the same words in any folder
    return SandboxResult(status, code, said, raw["enforced"])


def _needed() -> list[str]:
    """List the folders that the interpreter needs, of a virtual environment both."""
    return sorted({os.path.realpath(p) for p in (sys.prefix, sys.base_prefix)})


def _run(request: bytes, wait_s: float) -> dict[str, Any]:
    """Start the jail; it keeps the clock, and this one only guards against its own failure."""
    jail = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_JAIL)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={"LANG": "C.UTF-8"}, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = jail.communicate(request, wait_s)
        return dict(json.loads(out))
    except (subprocess.TimeoutExpired, ValueError) as error:
        said = "" if isinstance(error, subprocess.TimeoutExpired) else err.decode()[-500:]
        raise PermanentError(
            f"the sandbox does not work: {type(error).__name__} {said}".strip(),
            where=str(_JAIL),
            mend="`openseek doctor` tests it; synthesis.verification.code.enabled=false runs "
            "without.",
        ) from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(jail.pid, signal.SIGKILL)
        jail.kill()
        jail.wait()


@lru_cache(maxsize=1)
def enforceable() -> dict[str, str]:
    """Tell what the sandbox can enforce on this machine, by running a program.

    Returns:
        `network`, `processes`, `disk`, `files`, `user` -> how; `open`: not at all.
    """
    return dict(run_program({"main.py": ""}).enforced)
