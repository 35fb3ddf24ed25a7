"""Somebody who asks a server without a break, while something happens to it."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

LIMIT_S = 240.0


class Caller:
    """Asks for so many tokens again and again, on a thread of its own. `outcomes` are the statuses of the answers, or
    what went wrong."""

    def __init__(self, url: str, model: str, tokens: int) -> None:
        self.outcomes: list[str] = []
        self._url = url
        self._body = {"model": model, "prompt": "Once", "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                status, answer = post(f"{self._url}/v1/completions", self._body)
                whole = status != 200 or answer["usage"]["completion_tokens"] == self._body["max_tokens"]
                self.outcomes.append(str(status) if whole else "cut")
            except (OSError, HTTPException, ValueError) as error:
                self.outcomes.append(repr(error))

    def wait_for_more(self, answers: int) -> None:
        """Waits until so many more have come than there are now."""
        wanted = len(self.outcomes) + answers
        deadline = time.monotonic() + LIMIT_S
        while len(self.outcomes) < wanted:
            assert time.monotonic() < deadline, f"{len(self.outcomes)} answers: {self.outcomes[-3:]}"
            time.sleep(0.02)

    def stop(self) -> None:
        """After the answer that it waits for."""
        self._over.set()
        self._thread.join(LIMIT_S)


def post(url: str, body: Any) -> tuple[int, Any]:
    """Status and JSON. The request goes out in one piece: only so can a proxy send it a second time."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    content = json.dumps(body)
    head = [
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        "Connection: close",
    ]
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=LIMIT_S) as connection:
        connection.sendall("\r\n".join([*head, "", content]).encode())
        response = HTTPResponse(connection, method="POST")
        response.begin()
        return response.status, json.loads(response.read())
