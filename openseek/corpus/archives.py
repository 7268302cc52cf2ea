"""Archives as folders: zip and wheel, tar in any compression, Debian packages.

Small members are held in memory up to a limit, the others go to a scratch folder under numbered
names, never under their own (which might point outside of it): memory stays bounded and any member
can be read at any time.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from openseek.corpus.streams import chunks
from openseek.errors import DataError

SMALL = 1_000_000
"""Members of fewer bytes are held in memory: opening a file costs more than reading it."""
HELD = 64_000_000
"""Bytes held in memory for one archive."""

SUFFIXES = (".zip", ".whl", ".deb", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst")


def is_archive(name: str) -> bool:
    """Tell an archive by its name."""
    return name.lower().endswith(SUFFIXES)


class Unpacked:
    """The wanted members of an archive.

    Args:
        folder: Local folder for what is not held in memory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._members: dict[str, bytes | Path] = {}
        self._held = 0

    def add(self, name: str, stream: BinaryIO) -> None:
        """Take a member in."""
        head = stream.read(SMALL)
        if len(head) < SMALL and self._held + len(head) <= HELD:
            self._members[name] = head
            self._held += len(head)
            return
        path = self.folder / f"{len(self._members):07d}"
        with path.open("wb") as out:
            out.write(head)
            shutil.copyfileobj(stream, out, 1 << 20)
        self._members[name] = path

    def names(self) -> list[str]:
        """List the members' names, sorted."""
        return sorted(self._members)

    def open(self, name: str) -> BinaryIO | None:
        """Open a member, or return None if there is none of that name."""
        member = self._members.get(name)
        if member is None:
            return None
        return io.BytesIO(member) if isinstance(member, bytes) else member.open("rb")

    def remove(self) -> None:
        """Remove what was put on disk."""
        for member in self._members.values():
            if isinstance(member, Path):
                member.unlink(missing_ok=True)


def unpack(archive: BinaryIO, name: str, folder: Path, want: Callable[[str], bool]) -> Unpacked:
    """Unpack the wanted regular files of an archive.

    Args:
        archive: The archive's bytes; zip needs a seekable one.
        name: Its name, which tells the format.
        folder: Existing folder for large members.
        want: Whether a member, by its name, is wanted.

    Raises:
        DataError: The archive cannot be read.
    """
    unpacked = Unpacked(folder)
    try:
        for member, stream in _members(archive, name, want):
            unpacked.add(member, stream)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise DataError(
            f"the archive cannot be read: {error}", where=name, mend="Fetch it again."
        ) from error
    return unpacked


def _members(
    archive: BinaryIO, name: str, want: Callable[[str], bool]
) -> Iterator[tuple[str, Any]]:
    lower = name.lower()
    if lower.endswith((".zip", ".whl")):
        with zipfile.ZipFile(archive) as z:
            for item in z.infolist():
                if not item.is_dir() and want(item.filename):
                    with z.open(item) as stream:
                        yield item.filename, stream
        return
    pieces = _deb_data(archive, name) if lower.endswith(".deb") else _tar_data(archive, lower)
    with tarfile.open(fileobj=cast(IO[bytes], _Stream(pieces)), mode="r|") as tar:
        for member in tar:
            clean = member.name.removeprefix("./")
            if member.isfile() and want(clean) and (extracted := tar.extractfile(member)):
                yield clean, extracted


def _tar_data(archive: BinaryIO, name: str) -> Iterator[bytes]:
    return chunks(archive, name.removesuffix(".tgz") + ".tar.gz" if name.endswith(".tgz") else name)


def _deb_data(archive: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the tar stream inside a .deb, which is an `ar` archive of 60-byte headers."""
    if archive.read(8) != b"!<arch>\n":
        raise DataError("not a Debian package", where=name, mend="Fetch it again.")
    while len(header := archive.read(60)) == 60:
        member, size = (
            header[:16].decode("ascii", "replace").strip().rstrip("/"),
            int(header[48:58]),
        )
        if member.startswith("data.tar"):
            return chunks(cast(BinaryIO, _Slice(archive, size)), member)
        archive.seek(size + size % 2, 1)
    raise DataError("a Debian package without data", where=name, mend="Fetch it again.")


class _Slice:
    """The next `size` bytes of a stream."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.left = stream, size

    def read(self, size: int) -> bytes:
        piece = self.stream.read(min(size, self.left))
        self.left -= len(piece)
        return piece


class _Stream:
    """Pieces of bytes as something that can be read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.rest = pieces, b""

    def read(self, size: int) -> bytes:
        parts, have = [self.rest], len(self.rest)
        while have < size and (piece := next(self.pieces, b"")):
            parts.append(piece)
            have += len(piece)
        whole = b"".join(parts)
        self.rest = whole[size:]
        return whole[:size]
