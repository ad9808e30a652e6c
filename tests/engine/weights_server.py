"""A real HTTP server on this computer that behaves as a test asks: ranges, breaks, pages, proxy."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Behaviour:
    """How one address answers.

    Attributes
    ----------
    content
        What it serves.
    status
        Answered with, for errors.
    ranges
        Whether parts can be asked for.
    cut_after
        The connection breaks after so many bytes; one entry for each of the first answers.
    pause_s
        Before each kilobyte.
    silent
        Nothing comes after the headers.
    redirect
        Address to go to instead.
    validators
        Whether it sends an ETag.
    headers
        More headers, or other values.
    """

    content: bytes = b""
    status: int = 200
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    pause_s: float = 0.0
    silent: bool = False
    redirect: str | None = None
    validators: bool = True
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What was asked for."""

    path: str
    range: str | None
    if_range: str | None
    sent: int = 0


class WeightsServer(ThreadingHTTPServer):
    """Answers according to `pages`, and remembers the requests."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Behaviour] = {}
        self.requests: list[Request] = []
        self.closing = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """A client that has gone is what some tests want."""

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"

    def serve(self, name: str, content: bytes = b"", **how: Any) -> str:
        """Serve something; returns its address."""
        self.pages["/" + name] = Behaviour(content, **how)
        return self.url(name)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WeightsServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        # A proxy is asked for whole addresses.
        path = re.sub(r"^http://[^/]+", "", self.path)
        request = Request(self.path, self.headers.get("Range"), self.headers.get("If-Range"))
        self.server.requests.append(request)
        page = self.server.pages.get(path, Behaviour(status=404))
        if page.redirect is not None:
            self._answer(302, {"Location": page.redirect, "Content-Length": "0"})
        elif page.status != 200:
            self._answer(page.status, {"Content-Length": "0"})
        else:
            self._serve(page, request)

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _serve(self, page: Behaviour, request: Request) -> None:
        size, start = len(page.content), 0
        tag = f'"{hashlib.md5(page.content).hexdigest()}"'
        headers = {"ETag": tag} if page.validators else {}
        match = re.fullmatch(r"bytes=(\d+)-", request.range or "")
        if match and page.ranges and request.if_range in (None, tag):
            start = int(match[1])
            if start >= size:
                self._answer(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        headers["Content-Length"] = str(size - start)
        self._answer(206 if start else 200, headers | page.headers)
        if page.silent:
            self.server.closing.wait(30)
            return
        body = page.content[start:]
        if page.cut_after:
            body = body[: page.cut_after.pop(0)]
        for index in range(0, len(body), 1024):
            time.sleep(page.pause_s)
            self.wfile.write(body[index : index + 1024])
            request.sent += len(body[index : index + 1024])
        if len(body) < size - start:
            self.close_connection = True


@contextmanager
def running_server() -> Iterator[WeightsServer]:
    """Run a server while the block runs."""
    server = WeightsServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
