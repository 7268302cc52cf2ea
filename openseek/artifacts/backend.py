"""The few operations that the store needs of a file system, local or S3 through fsspec.

Three of them carry the guarantees: `create` (exclusive), `swap` (compare-and-swap) and `put`
(a file appears whole or not at all). Everything else may be weakly consistent.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from openseek.errors import ConfigError, StoreError, TransientError


@dataclass(frozen=True)
class Entry:
    """One stored file: path relative to the root, bytes, time of its last change (Unix seconds)."""

    path: str
    size: int
    modified: float


class Backend(Protocol):
    """What the store asks of a file system. Paths are relative to its root, with `/`."""

    root: str

    def read(self, path: str) -> tuple[bytes, str]:
        """Return content and version; raises FileNotFoundError."""
        ...

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop) of a file; raises FileNotFoundError."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Write a new file; False, and nothing changed, if it exists."""
        ...

    def swap(self, path: str, data: bytes, version: str) -> bool:
        """Replace a file only if its version is still the given one."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a file, whether it exists or not."""
        ...

    def put(self, path: str, source: Path, *, move: bool) -> None:
        """Publish a local file; with `move`, the source may be gone afterwards."""
        ...

    def get(self, path: str, target: Path) -> None:
        """Fetch a file to a local path; raises FileNotFoundError."""
        ...

    def local(self, path: str) -> Path | None:
        """Return the path itself where files are local."""
        ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """List all files below a prefix, in any depth."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file if it exists."""
        ...


class LocalBackend:
    """A local or network-mounted folder."""

    def __init__(self, root: str) -> None:
        self.root = str(Path(root).expanduser().resolve())
        self._base = Path(self.root)

    def read(self, path: str) -> tuple[bytes, str]:
        """Return content and its digest as version."""
        data = (self._base / path).read_bytes()
        return data, hashlib.sha256(data).hexdigest()

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Seek and read."""
        with (self._base / path).open("rb") as f:
            f.seek(start)
            return f.read(stop - start)

    def create(self, path: str, data: bytes) -> bool:
        """Write to a temporary file, fsync, and link: the link fails if the name is taken."""
        target = self._base / path
        staged = self._stage(target, data)
        try:
            os.link(staged, target)
        except FileExistsError:
            return False
        finally:
            staged.unlink()
        _fsync_folder(target.parent)
        return True

    def swap(self, path: str, data: bytes, version: str) -> bool:
        """Compare and replace under an advisory lock next to the file."""
        target = self._base / path
        lock = target.with_name(f".{target.name}.lock")
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            try:
                current = self.read(path)[1]
            except FileNotFoundError:
                return False
            if current != version:
                return False
            self.write(path, data)
            return True

    def write(self, path: str, data: bytes) -> None:
        """Replace a file atomically."""
        target = self._base / path
        os.replace(self._stage(target, data), target)
        _fsync_folder(target.parent)

    def put(self, path: str, source: Path, *, move: bool) -> None:
        """Rename within a file system, else copy to a temporary name and rename."""
        target = self._base / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if move and os.stat(source).st_dev == os.stat(target.parent).st_dev:
            _fsync_file(source)
            os.replace(source, target)
        else:
            staged = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
            try:
                shutil.copyfile(source, staged)
                _fsync_file(staged)
                os.replace(staged, target)
            except OSError:
                staged.unlink(missing_ok=True)
                raise
        _fsync_folder(target.parent)

    def get(self, path: str, target: Path) -> None:
        """Copy a file."""
        shutil.copyfile(self._base / path, target)

    def local(self, path: str) -> Path | None:
        """Return the path below the root."""
        return self._base / path

    def list(self, prefix: str) -> Iterator[Entry]:
        """Walk a folder; temporary and lock files are left out."""
        top = self._base / prefix
        for folder, _, files in os.walk(top):
            for name in files:
                if name.startswith("."):
                    continue
                full = Path(folder) / name
                try:
                    stat = full.stat()
                except FileNotFoundError:
                    continue
                yield Entry(full.relative_to(self._base).as_posix(), stat.st_size, stat.st_mtime)

    def remove(self, path: str) -> None:
        """Remove a file and the folders that became empty."""
        target = self._base / path
        target.unlink(missing_ok=True)
        for parent in target.parents:
            if parent == self._base:
                break
            try:
                parent.rmdir()
            except OSError:
                break

    def _stage(self, target: Path, data: bytes) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            with staged.open("wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
        except OSError:
            staged.unlink(missing_ok=True)
            raise
        return staged


class FsspecBackend:
    """An object store through fsspec; made for s3fs, whose `pipe_file` passes preconditions on."""

    def __init__(self, root: str) -> None:
        import fsspec

        self.root = root.rstrip("/")
        protocol = root.split("://", 1)[0]
        options: dict[str, Any] = {}
        if protocol in ("s3", "s3a"):
            options = {
                "use_listings_cache": False,
                "config_kwargs": {
                    "connect_timeout": 5,
                    "read_timeout": 60,
                    "retries": {"max_attempts": 3, "mode": "standard"},
                },
            }
        self._fs = fsspec.filesystem(protocol, skip_instance_cache=True, **options)
        self._base = self._fs._strip_protocol(self.root)

    def read(self, path: str) -> tuple[bytes, str]:
        """Return content and ETag; the ETag is read first, so a later swap cannot be fooled."""
        with self._errors(path):
            version = self._fs.info(self._full(path))["ETag"]
            return self._fs.cat_file(self._full(path)), version

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Get with a `Range`."""
        with self._errors(path):
            data: bytes = self._fs.cat_file(self._full(path), start=start, end=stop)
        return data

    def create(self, path: str, data: bytes) -> bool:
        """Put with `If-None-Match: *`."""
        try:
            with self._errors(path):
                self._fs.pipe_file(self._full(path), data, mode="create")
        except FileExistsError:
            return False
        return True

    def swap(self, path: str, data: bytes, version: str) -> bool:
        """Put with `If-Match`."""
        try:
            with self._errors(path):
                self._fs.pipe_file(self._full(path), data, IfMatch=version)
        except (FileExistsError, FileNotFoundError):
            return False
        return True

    def write(self, path: str, data: bytes) -> None:
        """Put without a precondition."""
        with self._errors(path):
            self._fs.pipe_file(self._full(path), data)

    def put(self, path: str, source: Path, *, move: bool) -> None:
        """Upload, in parts when large, and compare the size."""
        with self._errors(path):
            self._fs.put_file(str(source), self._full(path))
            size = self._fs.info(self._full(path))["size"]
        if size != source.stat().st_size:
            raise TransientError(f"uploaded {size} of {source.stat().st_size} bytes", where=path)
        if move:
            source.unlink()

    def get(self, path: str, target: Path) -> None:
        """Download a file."""
        with self._errors(path):
            self._fs.get_file(self._full(path), str(target))

    def local(self, path: str) -> Path | None:
        """Return None: nothing here is local."""
        return None

    def list(self, prefix: str) -> Iterator[Entry]:
        """List the objects below a prefix."""
        try:
            with self._errors(prefix):
                found = self._fs.find(self._full(prefix), detail=True)
        except FileNotFoundError:
            return
        cut = len(self._base) + 1
        for full, info in sorted(found.items()):
            if info.get("type") != "file" or full == self._full(prefix):
                continue  # SeaweedFS keeps emptied folders as objects
            changed = info.get("LastModified")
            yield Entry(full[cut:], info["size"], changed.timestamp() if changed else 0.0)

    def remove(self, path: str) -> None:
        """Delete an object if it exists."""
        try:
            with self._errors(path):
                self._fs.rm_file(self._full(path))
        except FileNotFoundError:
            return

    def _full(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _translate(error, f"{self.root}/{path}") from None
        except Exception as error:
            raise _translate(error, f"{self.root}/{path}") from None


_DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403", "Forbidden"}


def _translate(error: BaseException, where: str) -> BaseException:
    """Turn what s3fs and botocore raise into an error with a mend; never repeats a credential."""
    codes = set()
    link: BaseException | None = error
    while link is not None:
        response = getattr(link, "response", None)
        if isinstance(response, dict):
            codes.add(str(response.get("Error", {}).get("Code", "")))
        codes.add(type(link).__name__)
        link = link.__cause__ or link.__context__
    if codes & {"PreconditionFailed", "ConditionalRequestConflict", "FileExistsError"}:
        return FileExistsError(where)
    if codes & _DENIED or "PermissionError" in codes or "NoCredentialsError" in codes:
        return StoreError(
            "the object store refused the credentials",
            where=where,
            mend="Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the rights on the bucket.",
        )
    if "NoSuchBucket" in codes:
        return StoreError("no such bucket", where=where, mend="Create it or mend runtime.store.")
    kind = type(error).__name__
    return TransientError(
        f"the object store does not answer as it should ({kind}: {str(error)[:200]})",
        where=where,
        mend="Is AWS_ENDPOINT_URL right and the server up? `openseek doctor` tests it.",
    )


def _fsync_file(path: Path) -> None:
    with path.open("rb") as f:
        os.fsync(f.fileno())


def _fsync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@functools.lru_cache(maxsize=8)
def _backend(root: str, pid: int) -> Backend:
    if "://" not in root:
        return LocalBackend(root)
    if root.startswith("file://"):
        return LocalBackend(root.removeprefix("file://"))
    if "@" in root.split("://", 1)[1].split("/", 1)[0]:
        raise ConfigError(
            "the store's URL carries credentials",
            where="runtime.store",
            mend="Put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead.",
        )
    return FsspecBackend(root)


def open_backend(root: str) -> Backend:
    """Return the backend for a folder or URL; one a process, never shared over a fork."""
    return _backend(root, os.getpid())
