"""A receiver of traces by OTLP over HTTP, on the loopback interface."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Told:
    """A span that came. `process` is as its resource says, times are in seconds since 1970."""

    process: str
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    start_s: float
    end_s: float
    attributes: dict[str, Any]
    events: list[str]
    failed: bool


@dataclass
class Receiver:
    """`url` is where spans go, `spans` are those that came, `raw` all bytes of them."""

    url: str = ""
    spans: list[Told] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)

    def wait(self, enough: Callable[[list[Told]], bool]) -> list[Told]:
        """Those that came, as soon as they are enough."""
        deadline = time.monotonic() + LIMIT_S
        while not enough(list(self.spans)):
            assert time.monotonic() < deadline, f"only these came: {sorted(one.name for one in self.spans)}"
            time.sleep(0.05)
        return list(self.spans)

    def take(self, body: bytes) -> None:
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = _values(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_told(span, names.get("stageline.process", "")) for span in scope.spans]


def _told(span: Any, process: str) -> Told:
    return Told(
        process,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        _values(span.attributes),
        [event.name for event in span.events],
        span.status.code == 2,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listens at a free port."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
