"""Callers who leave: requests on plain sockets, and streams read in the background."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.deployments.server.running import Server


def connect(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    assert address.hostname is not None
    return socket.create_connection((address.hostname, address.port or 80), timeout=60)


def post(server: Server, path: str = "/v1/completions", **body: Any) -> socket.socket:
    """Sends a request and returns the connection, on which nothing has been read."""
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(raw)}\r\n\r\n"
    connection = connect(server)
    connection.sendall(head.encode() + raw)
    return connection


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    """Reads until `mark` came."""
    received = b""
    while mark not in received:
        chunk = connection.recv(65536)
        assert chunk, f"the connection ended after {received[-500:]!r}"
        received += chunk
    return received


class BackgroundStream:
    """One streamed completion, read on a thread of its own."""

    def __init__(self, server: Server, **body: Any) -> None:
        self.status = 0
        self.text = ""
        self.failure: Exception | None = None
        self.begun = threading.Event()  # the first event came
        self._thread = threading.Thread(target=self._read, args=(server, body), daemon=True)
        self._thread.start()

    def _read(self, server: Server, body: dict[str, Any]) -> None:
        try:
            with httpx.stream(
                "POST", f"{server.url}/v1/completions", json={**body, "stream": True}, timeout=120
            ) as response:
                self.status = response.status_code
                for text in response.iter_text():
                    self.text += text
                    self.begun.set()
        except Exception as error:
            self.failure = error
        finally:
            self.begun.set()

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def events(self) -> list[dict[str, Any]]:
        """Waits for the stream's end, which must be a proper one, and returns its events but for the end mark."""
        self._thread.join(120)
        assert self.over, "the stream goes on"
        assert self.failure is None, self.failure
        assert self.status == 200, self.text
        lines = [line for line in self.text.split("\n\n") if line]
        assert lines[-1] == "data: [DONE]", lines[-2:]
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
