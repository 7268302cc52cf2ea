"""Find a source's files, wherever it lies: folder, URL, package, installed library."""

from __future__ import annotations

import csv
import importlib.metadata
import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from openseek.config.runtime import RuntimeConfig
from openseek.config.sources import SourceConfig
from openseek.corpus.archives import is_archive
from openseek.corpus.fetch import SourceMissingError, fetch_deb, fetch_npm, fetch_pypi
from openseek.corpus.remote import MAGIC, Found, find_remote, join
from openseek.corpus.streams import is_url
from openseek.errors import DataError

_STDLIB_SKIP = (
    "site-packages/",
    "test/",
    "idlelib/",
    "lib2to3/",
    "turtledemo/",
    "__pycache__/",
    "/tests/",
    "/test/",
)


def selected(source: SourceConfig, name: str) -> bool:
    """Tell whether a file of this name belongs to the source."""
    if any(fnmatchcase(name, p) for p in source.exclude):
        return False
    return any(fnmatchcase(name, p) or fnmatchcase(name, f"*/{p}") for p in source.files)


def locate(source: SourceConfig, runtime: RuntimeConfig) -> tuple[str, list[Found]]:
    """Return the source's label and files, fetching a package that is not here yet.

    Raises:
        SourceMissingError: A package cannot be had.
        DataError: A path does not exist or holds no file that matches.
        ConfigError: Access to a URL is denied.
        TransientError: A URL does not answer.
    """
    if source.place == "deb":
        fetched = fetch_deb(source.deb, runtime)
        return f"deb:{fetched.package}={fetched.version}", [_package(fetched.path, fetched.sha256)]
    if source.place == "pypi":
        fetched = fetch_pypi(source.pypi, runtime)
        return f"pypi:{fetched.package}=={fetched.version}", [
            _package(fetched.path, fetched.sha256)
        ]
    if source.place == "npm":
        fetched = fetch_npm(source.npm, runtime)
        return f"npm:{fetched.package}@{fetched.version}", [_package(fetched.path, fetched.sha256)]
    if source.place == "installed":
        found = [f for name in source.installed for f in _installed(name, source)]
        label = "installed:"
    else:
        found = [
            f
            for i, path in enumerate(source.path)
            for f in _path(path, source, f"{i}/" if len(source.path) > 1 else "")
        ]
        label = ""
    if not found:
        where = f"source {source.name}: {source.place}={getattr(source, source.place)}"
        raise DataError(
            f"no file matches {list(source.files)}",
            where=where,
            mend="Check the path and the source's `files`.",
        )
    return label, sorted(found, key=lambda f: f.name)


def _package(path: Path, sha256: str) -> Found:
    stat = path.stat()
    return Found(path.name, str(path), stat.st_size, stat.st_mtime_ns, f"sha256:{sha256}")


def _local(name: str, path: Path) -> Found:
    stat = path.stat()
    return Found(name, str(path), stat.st_size, stat.st_mtime_ns)


def _installed(package: str, source: SourceConfig) -> Iterator[Found]:
    if package == "stdlib":
        root = Path(sysconfig.get_paths()["stdlib"])
        for path in sorted(root.rglob("*.py")):
            relative = path.relative_to(root).as_posix()
            if not any(s in relative for s in _STDLIB_SKIP) and selected(source, relative):
                yield _local(f"python=={platform.python_version()}/{relative}", path)
        return
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise SourceMissingError(
            "not installed",
            where=f"package {package}",
            mend=f"Install {package} to use it as a source.",
        ) from error
    root = Path(str(distribution.locate_file("")))
    prefix = f"{package}=={distribution.version}"  # `.version` parses the metadata: once is enough
    record = distribution.read_text("RECORD") or ""
    for name in sorted(row[0] for row in csv.reader(record.split("\n")) if row):
        if not name.startswith("..") and selected(source, name) and (root / name).is_file():
            yield _local(f"{prefix}/{name}", root / name)


def _path(path: str, source: SourceConfig, prefix: str) -> Iterator[Found]:
    path = join(source.root, path)
    if is_url(path):
        listing = join(source.root, source.listing) if source.listing else ""
        for file in find_remote(path, listing, lambda name: _wanted(source, name)):
            yield replace(file, name=prefix + file.name)
        return
    root = Path(path).expanduser()
    if MAGIC.search(path):
        fixed = Path(*_fixed_parts(root.parts))
        matches = sorted(fixed.glob("/".join(root.parts[len(fixed.parts) :])))
        root, paths = fixed, [p for p in matches if p.is_file()]
    elif root.is_file():
        paths, root = [root], root.parent
    elif root.is_dir():
        paths = sorted(p for p in root.rglob("*") if p.is_file())
    else:
        raise DataError(
            f"no such file or folder: {path}",
            where=f"source {source.name}",
            mend="Check the source's `path`.",
        )
    for found in paths:
        name = found.relative_to(root).as_posix()
        if not any(p.startswith(".") for p in name.split("/")) and _wanted(source, name):
            yield _local(prefix + name, found.absolute())


def _fixed_parts(parts: tuple[str, ...]) -> tuple[str, ...]:
    first = next((i for i, p in enumerate(parts) if MAGIC.search(p)), len(parts))
    return parts[:first] or (".",)


def _wanted(source: SourceConfig, name: str) -> bool:
    return is_archive(name) or selected(source, name)  # `files` chooses inside of archives
