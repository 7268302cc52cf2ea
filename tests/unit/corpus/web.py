"""A web server on this machine whose faults are set by the test."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Web:
    """Serve files from memory.

    Attributes:
        files: Path -> content.
        ranges: Whether requests for a part of a file are understood.
        tags: Whether answers have an ETag.
        cut: Bodies end after so many bytes, as often as `cuts` says.
        fail: Status codes of the next answers.
        redirect: Path -> URL that it has moved to.
        seen: Path and Range header of each request.
        headers: Headers of the last request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = self.tags = True
        self.cut = self.cuts = 0
        self.fail: list[int] = []
        self.redirect: dict[str, str] = {}
        self.seen: list[tuple[str, str]] = []
        self.headers: dict[str, str] = {}
        self.version = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web._answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range", "")
        path = request.path.partition("?")[0]
        self.seen.append((path, asked))
        self.headers = dict(request.headers.items())
        if self.fail:
            request.send_error(self.fail.pop(0))
            return
        if path in self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect[path])
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = self.files.get(path)
        if body is None:
            request.send_error(404)
            return
        start, end = self._part(asked, len(body))
        if start >= len(body) > 0:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if asked and self.ranges else 200)
        if asked and self.ranges:
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
        request.send_header("Content-Length", str(end - start))
        if self.tags:
            request.send_header("ETag", f'"{self.version}-{len(body)}"')
        request.end_headers()
        sent = body[start:end]
        if self.cuts and len(sent) > self.cut:
            self.cuts -= 1
            request.wfile.write(sent[: self.cut])
            request.close_connection = True
            return
        request.wfile.write(sent)

    def _part(self, asked: str, size: int) -> tuple[int, int]:
        if not asked or not self.ranges or not size:
            return 0, size
        first, _, last = asked.removeprefix("bytes=").partition("-")
        return int(first), min(size, int(last) + 1) if last else size
