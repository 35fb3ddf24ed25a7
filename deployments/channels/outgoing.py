"""The writing half of a connection: what is written in one turn of the event loop goes out in one piece, if small."""

from __future__ import annotations

import asyncio
import socket

_PIECE = 64 << 10  # bytes: from there on nothing is gained, and whoever writes must hear that he is too fast
_UNACKNOWLEDGED_S = 5  # and a connection is given up, so that none lingers after a network was cut for a while
_IDLE_S, _PROBE_S, _PROBES = 5, 2, 3  # the same for one on which nothing is sent


class Outgoing:
    """Of a connected transport."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._pieces: list[bytes] = []
        self._held = 0
        self._events = asyncio.get_running_loop()
        tune(transport.get_extra_info("socket"))

    def write(self, frame: bytes) -> None:
        """Nothing happens where the connection is closed: its protocol is told, and tells."""
        if not self._pieces:
            self._events.call_soon(self._flush)
        self._pieces.append(frame)
        self._held += len(frame)
        if self._held >= _PIECE:
            self._flush()

    def _flush(self) -> None:
        pieces, self._pieces, self._held = self._pieces, [], 0
        if pieces and not self._transport.is_closing():
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))


def tune(connection: socket.socket) -> None:
    """Small messages go at once, and a dead peer is noticed."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_USER_TIMEOUT", 1000 * _UNACKNOWLEDGED_S),
        ("TCP_KEEPIDLE", _IDLE_S),
        ("TCP_KEEPINTVL", _PROBE_S),
        ("TCP_KEEPCNT", _PROBES),
    ):
        if hasattr(socket, name):  # not everywhere
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
