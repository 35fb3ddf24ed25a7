"""A server with all that sees inside and keeps out: keys with limits, logs, and traces that are sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from deployments.access.keys import digest_of, new_secret
from deployments.settings import Access, Logs, Settings, Tracing

PLENTY = 1_000_000_000  # a limit that is counted and never reached
_HOST = "127.0.0.1"
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class On:
    """`key` is one that the server knows."""

    settings: Settings
    key: str


def everything_on(plain: Settings, folder: Path, otlp: str, *, every: bool = False, turns: int = 1) -> On:
    """The same models, with the file of keys in `folder` and traces for the collector at `otlp`: as much of it as is so
    by default, or with `every` a trace and a line in the log of each request. One that has a turn in so many only gets
    as many traces in it as it would have with all the time, at most: of requests that come all at once, one."""
    key = new_secret()
    limits = {"requests_per_minute": PLENTY, "tokens_per_minute": PLENTY, "concurrent": PLENTY}
    known = {"name": "benchmark", "sha256": digest_of(key.encode()).hex(), "models": ["*"], "scopes": ["admin"]}
    file = folder / "keys.yaml"
    file.write_text(yaml.safe_dump({"keys": [{**known, "limits": limits}]}), encoding="utf-8")
    sections = {
        "access": Access(keys=str(file)),
        "logs": Logs(format="json", slow_s=1e-6 if every else None),
        "tracing": Tracing(otlp=otlp, per_second=PLENTY if every else Tracing().per_second / turns),
    }
    return On(plain.model_copy(update=sections), key)


@contextmanager
def collector() -> Iterator[str]:
    """An OTLP collector that throws all spans away; its URL."""
    server = ThreadingHTTPServer((_HOST, 0), _Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{_HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_END_S)


class _Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""
