"""A server with all that sees inside and keeps out: keys with limits, logs, traces that are sent, and metrics that are
read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from deployments.access.keys import digest_of, new_secret
from deployments.benchmark.asking import Measure
from deployments.benchmark.harness import Measured, measure
from deployments.settings import Access, Logs, Settings, Tracing
from loadtest.scenario import Scenario

SCRAPE_S = 15.0  # as k8s/components/monitoring has it
PLENTY = 1_000_000_000  # a limit that is counted and never reached
_HOST = "127.0.0.1"
_ASK_S = 10.0


@dataclass(frozen=True, slots=True)
class On:
    """`key` is one that the server knows."""

    settings: Settings
    key: str


def everything_on(plain: Settings, folder: Path, otlp: str, *, every: bool = False) -> On:
    """The same models, with the file of keys in `folder` and traces for the collector at `otlp`: as much of it as is so
    by default, or with `every` a trace and a line in the log of each request."""
    key = new_secret()
    limits = {"requests_per_minute": PLENTY, "tokens_per_minute": PLENTY, "concurrent": PLENTY}
    known = {"name": "benchmark", "sha256": digest_of(key.encode()).hex(), "models": ["*"], "scopes": ["admin"]}
    file = folder / "keys.yaml"
    file.write_text(yaml.safe_dump({"keys": [{**known, "limits": limits}]}), encoding="utf-8")
    sections = {
        "access": Access(keys=str(file)),
        "logs": Logs(format="json", slow_s=1e-6 if every else None),
        "tracing": Tracing(otlp=otlp, sample=1.0) if every else Tracing(otlp=otlp),
    }
    return On(plain.model_copy(update=sections), key)


def scraped(key: str) -> Measure:
    """Measures with a key, while the metrics are read as Prometheus would."""

    def measured(scenario: Scenario, url: str) -> Measured:
        with _scraping(url, key):
            return measure(scenario, url, api_key=key)

    return measured


@contextmanager
def _scraping(url: str, key: str) -> Iterator[None]:
    over = threading.Event()

    def scrape() -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=_ASK_S) as client:
            while not over.is_set():
                with suppress(httpx.HTTPError):
                    client.get(f"{url}/metrics")
                over.wait(SCRAPE_S)

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(2 * _ASK_S)


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
        thread.join(_ASK_S)


class _Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""
