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
IDLE_S = 4.0  # uvicorn closes what was idle for 5 s: a request sent just then is lost


class Connections:
    """Takes the one that was used last, or makes a new one. One thread, or one gevent hub, uses it."""

    def __init__(self, url: str) -> None:
        """`url` as in http://127.0.0.1:8000. Raises LoadTestError for one that is none."""
        try:
            parts = urlsplit(url)
            port, name = parts.port, parts.hostname
        except ValueError:  # a port that is no number, half of an IPv6 address
            name = None
        if not name or parts.scheme not in ("http", "https") or port == 0 or not url.isascii():
            raise LoadTestError(f"{url}: not an address. Write it as in http://127.0.0.1:8000.")
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._name = name
        self._port = port or (443 if self._context else 80)
        self.host = parts.netloc.rpartition("@")[2]  # for the header
        self.prefix = parts.path.rstrip("/")
        self._idle: deque[tuple[float, socket.socket]] = deque()

    def take(self, timeout_s: float = CONNECT_S) -> socket.socket:
        """An open connection. Raises OSError where there is none to be had, TimeoutError where it takes too long."""
        while self._idle:
            since, kept = self._idle.pop()
            if time.monotonic() - since < IDLE_S and _is_open(kept):
                return kept
            kept.close()
        try:
            made = socket.create_connection((self._name, self._port), timeout_s)
        except UnicodeError as error:  # a name that no DNS can have
            raise OSError(f"{self._name}: {error}") from None
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made if self._context is None else self._context.wrap_socket(made, server_hostname=self._name)
        except BaseException:
            made.close()
            raise

    def keep(self, used: socket.socket) -> None:
        """Gives back one whose answer was read to its end."""
        self._idle.append((time.monotonic(), used))

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[1].close()


def _is_open(idle: socket.socket) -> bool:
    """A server says nothing on an idle connection. Where there is something to read, it has closed it, or is confused:
    a request would be lost."""
    try:
        idle.settimeout(0.0)
        idle.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        pass
    return False
