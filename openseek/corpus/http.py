"""Files of web servers, read as they come, from where the connection broke if it does.

`HttpFile` asks for ranges of bytes. A server that knows none gives the file from its start, and
what was read before is passed over. If the file changes between two requests (its ETag or date
does), the read fails rather than mix two versions.
"""

from __future__ import annotations

import http.client
import io
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from openseek.errors import DataError

log = logging.getLogger(__name__)

TRIES = 5
"""Requests in succession that may fail without a byte in between."""
BACKOFF_S = 0.5
"""Wait before the second request; doubled for each further one, at most `LONGEST_S`."""
LONGEST_S = 30.0
TIMEOUT_S = 60.0
BUFFER = 1 << 20
_GONE = (404, 410)
_DENIED = (401, 403, 407)
_NO_SUCH_RANGE = 416
_BROKEN = (OSError, http.client.HTTPException)
_SAFE = "/:?&=%@+,;~!$'()*[]"


class _Refused(Exception):
    """The server answered, and asking again would not change its answer."""


def open_http(url: str, headers: Mapping[str, str] | None = None, expected: str = "") -> BinaryIO:
    """Open a file of a web server for reading and seeking.

    Args:
        url: http or https.
        headers: Sent to the first server alone, not to one that it redirects to.
        expected: Tag of the version that must be read; empty: whichever is there.
    """
    return io.BufferedReader(HttpFile(url, headers, expected), BUFFER)


def describe(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Return a file's size (0: not told) and what stands for its content, without reading it.

    Raises:
        FileNotFoundError: There is none.
        PermissionError: Access is denied.
        OSError: The server does not answer.
    """
    with HttpFile(url, headers) as file:
        file.connect(probe=True)
        return file.size or 0, file.tag


class HttpFile(io.RawIOBase):
    """A file of a web server, from `seek`'s position on; see `open_http`.

    Attributes:
        size: Bytes, as far as the server says.
        tag: `etag:...`, else `modified:...` with the date; empty: the server says neither.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str] | None = None, expected: str = ""
    ) -> None:
        self.url = url
        self.size: int | None = None
        self.tag = expected
        self._headers = dict(headers or {})
        self._at = 0
        self._response: Any = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is; where the server knows no ranges, by reading from the start."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; the next read asks for what lies there."""
        if whence == io.SEEK_END:
            if self.size is None:
                self.connect()
            offset += self.size or 0
        elif whence == io.SEEK_CUR:
            offset += self._at
        if offset != self._at:
            self._drop()
            self._at = offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read what there is, at most the buffer's size; go on after a broken connection."""
        if self.size is not None and self._at >= self.size:
            return 0
        return int(self._retry(lambda: self._read(buffer)))

    def connect(self, probe: bool = False) -> None:
        """Ask for the bytes from the position on (probe: for one), which tells size and tag."""
        self._retry(lambda: self._open(probe))

    def close(self) -> None:
        """Close the connection."""
        self._drop()
        super().close()

    def _retry(self, action: Any) -> Any:
        for attempt in range(1, TRIES + 1):
            try:
                return action()
            except _Refused as refused:
                raise refused.args[0] from refused.__cause__
            except _BROKEN as error:
                self._drop()
                if attempt == TRIES:
                    raise
                wait = min(LONGEST_S, max(BACKOFF_S * 2 ** (attempt - 1), _asked_wait(error)))
                log.info(
                    "http url=%s at=%d attempt=%d wait_s=%.1f error=%s",
                    self.url, self._at, attempt, wait, error,
                )  # fmt: skip
                time.sleep(wait)
        raise AssertionError("unreachable")

    def _read(self, buffer: Any) -> int:
        if self._response is None:
            self._open()
        if self.size is not None and self._at >= self.size:
            return 0
        n = int(self._response.readinto(buffer))
        self._at += n
        if not n and self.size is not None and self._at < self.size:
            raise ConnectionResetError(f"the connection ended at byte {self._at} of {self.size}")
        return n

    def _open(self, probe: bool = False) -> None:
        self._drop()
        # identity: a server must not compress on the way, or ranges mean something else
        request = urllib.request.Request(_quoted(self.url), headers={"Accept-Encoding": "identity"})
        for name, value in self._headers.items():
            request.add_unredirected_header(name, value)
        if self._at or probe:
            request.add_header("Range", f"bytes={self._at}-{self._at if probe else ''}")
        try:
            response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            if error.code != _NO_SUCH_RANGE:
                self._refuse(error)
                raise
            response = error  # nothing lies at the position: the file ends there
        try:
            self._note(response)
        except BaseException:
            response.close()
            raise
        self._response = response

    def _refuse(self, error: urllib.error.HTTPError) -> None:
        told = f"the server says {error.code} {error.reason}"
        if error.code in _GONE:
            raise _Refused(FileNotFoundError(told)) from error
        if error.code in _DENIED:
            raise _Refused(PermissionError(told)) from error
        if error.code < 500 and error.code not in (408, 425, 429):
            raise _Refused(DataError(told, where=self.url, mend="Check the URL.")) from error

    def _note(self, response: Any) -> None:
        """Take size and tag from an answer, and bring it to the position."""
        headers: Message = response.headers
        tag = _tag(headers)
        if self.tag and tag and tag != self.tag:
            raise _Refused(
                DataError(
                    "the file changed while it was read", where=self.url, mend="Run it again."
                )
            )
        self.tag = self.tag or tag
        if response.status in (206, _NO_SUCH_RANGE):
            total = headers.get("Content-Range", "").rpartition("/")[2]
            self.size = int(total) if total.isdigit() else self.size
        else:
            length = headers.get("Content-Length", "")
            self.size = int(length) if length.isdigit() else None
            _skip(response, self._at)

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


def _tag(headers: Message) -> str:
    if etag := headers.get("ETag", ""):
        return "etag:" + etag.removeprefix("W/").strip('"')
    date = headers.get("Last-Modified", "")
    return f"modified:{date}" if date else ""


def _skip(response: Any, n: int) -> None:
    while n > 0:
        piece = response.read(min(n, BUFFER))
        if not piece:
            raise ConnectionResetError("the connection ended before the part that was asked for")
        n -= len(piece)


def _asked_wait(error: BaseException) -> float:
    """Return the seconds that a busy server asks to wait."""
    headers = getattr(error, "headers", None)
    asked = headers.get("Retry-After", "") if headers is not None else ""
    return float(asked) if asked.isdigit() else 0.0


def _quoted(url: str) -> str:
    parts = urlsplit(url)
    path = quote(parts.path, safe=_SAFE)
    query = "?" + quote(parts.query, safe=_SAFE) if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{path}{query}"
