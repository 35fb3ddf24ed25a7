"""Connections to one server, kept and used again as clients keep them.

Plain blocking sockets of the standard library. Inside Locust those are gevent's, and block only their own user.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque
from urllib.parse import urlsplit

from loadtest.errors import LoadTestError

CONNECT_S = 10.0
IDLE_S = 4.0  # uvicorn closes what was idle for 5 s: a request sent just then would be lost


class Connections:
    """Takes the one that was used last, or makes a new one. One thread, or one gevent hub, uses it."""

    def __init__(self, url: str) -> None:
        """`url` as in http://127.0.0.1:8000. Raises LoadTestError for one that is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LoadTestError(f"{url}: not an address. Write it as in http://127.0.0.1:8000.")
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._name = parts.hostname
        self._port = parts.port or (443 if self._context else 80)
        self.host = parts.netloc.rpartition("@")[2]  # for the header
        self.prefix = parts.path.rstrip("/")
        self._idle: deque[tuple[float, socket.socket]] = deque()

    def take(self) -> tuple[socket.socket, bool]:
        """A connection, and whether it was used before. Raises OSError where there is none to be had."""
        while self._idle:
            since, kept = self._idle.pop()
            if time.monotonic() - since < IDLE_S:
                return kept, True
            kept.close()
        made = socket.create_connection((self._name, self._port), CONNECT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            made = self._context.wrap_socket(made, server_hostname=self._name)
        return made, False

    def keep(self, used: socket.socket) -> None:
        """Gives back one whose answer was read to its end."""
        self._idle.append((time.monotonic(), used))

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[1].close()
