"""An HTTP server on a real socket that serves bytes, can misbehave on purpose, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    path: str
    range: str | None
    authorization: str | None


@dataclass
class FileServer:
    """`pages` by path. A `fault` sees each request first; when it returns True, it has answered (or hung up)."""

    pages: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    fault: Callable[[BaseHTTPRequestHandler], bool] | None = None
    post: Callable[[BaseHTTPRequestHandler], None] | None = None
    ranges: bool = True
    address: str = ""

    def asked_for(self, ending: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path.partition("?")[0].endswith(ending)]


def send(handler: BaseHTTPRequestHandler, body: bytes, *, claim: int | None = None) -> None:
    """Answer 200 with `body`; with `claim`, promise that many bytes and hang up after `body`."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", str(len(body) if claim is None else claim))
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()
    if claim is not None:
        handler.close_connection = True


@contextmanager
def serving(server: FileServer) -> Iterator[FileServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            server.asked.append(Asked(self.path, self.headers.get("Range"), self.headers.get("Authorization")))
            if server.fault is not None and server.fault(self):
                return
            body = server.pages.get(self.path.partition("?")[0])
            if body is None:
                self.send_error(404)
                return
            asked = self.headers.get("Range")
            if asked and server.ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                self.wfile.write(body[start:])
                return
            send(self, body)

        def do_POST(self) -> None:
            assert server.post is not None
            server.post(self)

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    server.address = f"http://127.0.0.1:{httpd.server_port}"
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
