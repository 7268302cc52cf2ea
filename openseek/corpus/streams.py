"""Bytes from anywhere: local files and URLs, compressed or not, in bounded memory.

Compression is told by the suffix. A damaged stream gives what comes before the damage, then
`DamagedStreamError`, so that a truncated download costs its end and not the whole file.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from openseek.errors import ConfigError, DataError, OpenSeekError, TransientError

CHUNK = 1 << 20
FED = 4096
"""Compressed bytes given to a decoder at once. zstd packs up to 32,768 times: a decompression bomb
costs 128 MB at most."""
COMPRESSED = (".gz", ".dz", ".zst", ".zstd", ".bz2", ".xz")

_DAMAGE = (zlib.error, lzma.LZMAError, OSError, EOFError)


class DamagedStreamError(DataError):
    """A compressed stream that ends early or cannot be decoded any further."""

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(what, where=where, mend=mend or "Fetch the file again.")


def is_url(path: str) -> bool:
    """Tell a URL (`s3://...`) from a local path."""
    return "://" in path


def open_bytes(url: str) -> BinaryIO:
    """Open a local path or any fsspec URL for reading bytes.

    Raises:
        DataError: There is no such file.
        ConfigError: Access is denied.
        TransientError: The place does not answer.
    """
    try:
        if not is_url(url):
            return Path(url).open("rb")
        if url.startswith(("http://", "https://")):
            from openseek.corpus.http import open_http

            return open_http(url)
        if url.startswith("hf://"):
            from openseek.corpus.hub import open_hub

            return open_hub(url)
        import fsspec

        return fsspec.open(url, "rb").open()
    except Exception as error:
        raise access_error(error, url) from error


def access_error(error: BaseException, url: str) -> OpenSeekError:
    """Translate what a file system raised into an error that says how to mend it."""
    kind = f"{type(error).__name__}: {error}"
    text = kind.lower()
    if isinstance(error, OpenSeekError):
        return error
    if isinstance(error, ImportError | ValueError):
        return ConfigError(kind, where=url, mend="Check the URL's scheme and spelling.")
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        return DataError(f"no such file ({kind})", where=url, mend="Check the path of the source.")
    words = (
        "credential",
        "forbidden",
        "accessdenied",
        "signature",
        "invalidaccesskey",
        "denied",
        "403",
        "401",
    )
    if isinstance(error, PermissionError) or any(w in text for w in words):
        return ConfigError(
            f"access is denied ({kind})",
            where=url,
            mend="Check the key, the secret and the permissions.",
        )
    return TransientError(
        f"no answer ({kind})",
        where=url,
        mend="Check the network and the address; it is tried again.",
    )


def codec_of(name: str) -> str:
    """Return the compression suffix of a name, or an empty string."""
    return next((s for s in COMPRESSED if name.lower().endswith(s)), "")


def plain_name(name: str) -> str:
    """Return a name without its compression suffix."""
    return name[: -len(codec)] if (codec := codec_of(name)) else name


def _decoder(codec: str) -> Any:
    if codec in (".zst", ".zstd"):
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj()
    makers: dict[str, Callable[[], Any]] = {
        ".gz": lambda: zlib.decompressobj(wbits=31),
        ".dz": lambda: zlib.decompressobj(wbits=31),
        ".bz2": bz2.BZ2Decompressor,
        ".xz": lzma.LZMADecompressor,
    }
    return makers[codec]()


def _decoded(decoder: Any, data: bytes) -> Iterator[bytes]:
    """Yield what a decoder makes of some bytes; bz2 and xz, which pack tighter, in pieces."""
    if not isinstance(decoder, bz2.BZ2Decompressor | lzma.LZMADecompressor):
        yield decoder.decompress(data)
        return
    yield decoder.decompress(data, CHUNK)
    while not (decoder.needs_input or decoder.eof):
        yield decoder.decompress(b"", CHUNK)


def chunks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield a stream's content in pieces, decompressed according to the suffix of its name.

    Files made of several compressed members or frames are read to their end.

    Raises:
        DamagedStreamError: After the last piece that could be read.
        TransientError: The connection broke.
    """
    codec = codec_of(name)
    if not codec:
        while piece := _read(stream, CHUNK, name):
            yield piece
        return
    held = bytearray()
    try:
        for piece in _decompressed(stream, name, codec):
            large = len(piece) >= CHUNK // 8
            if held and (large or len(held) >= CHUNK // 8):
                yield bytes(held)
                held.clear()
            if large:
                yield piece
            else:
                held += piece
    except DamagedStreamError:
        if held:
            yield bytes(held)
        raise
    if held:
        yield bytes(held)


def _decompressed(stream: BinaryIO, name: str, codec: str) -> Iterator[bytes]:
    decoder, pending = _decoder(codec), False
    while raw := _read(stream, CHUNK // 8, name):
        for start in range(0, len(raw), FED):
            fed = raw[start : start + FED]
            while fed:
                if decoder.eof:
                    if not fed.strip(b"\x00"):  # padding after the last member
                        break
                    decoder = _decoder(codec)
                try:
                    yield from _decoded(decoder, fed)
                except Exception as error:
                    if not isinstance(error, _DAMAGE) and type(error).__name__ != "ZstdError":
                        raise
                    what = f"compressed stream is damaged ({error})"
                    raise DamagedStreamError(what, where=name) from error
                pending = not decoder.eof
                fed = decoder.unused_data if decoder.eof else b""
    if pending:
        raise DamagedStreamError("compressed stream ends early", where=name)


def _read(stream: BinaryIO, size: int, name: str) -> bytes:
    try:
        return stream.read(size)
    except MemoryError:
        raise
    except Exception as error:  # s3fs, aiohttp and botocore share no base class
        raise access_error(error, name) from error


def read_whole(stream: BinaryIO, name: str, limit: int) -> bytes | None:
    """Read and decompress a file, or return None as soon as it is larger than `limit` bytes."""
    parts, size = [], 0
    for piece in chunks(stream, name):
        size += len(piece)
        if size > limit:
            return None
        parts.append(piece)
    return b"".join(parts)
