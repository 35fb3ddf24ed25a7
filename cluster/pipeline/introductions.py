"""The handshake (see `handshake`) over a connection that was just made, in the time that there is for it."""

from __future__ import annotations

import socket
import time

from cluster.pipeline.handshake import CHALLENGE_BYTES, HELLO_BYTES, REPLY_BYTES, Place, new_challenge

HANDSHAKE_S = 1.0  # for all of it with a stranger who says nothing or little, while the right one waits behind him
TLS_HANDSHAKE_S = 2.0  # the same where keys have to be computed first, on a machine that has other work


def take_in(connection: socket.socket, place: Place, until: float) -> str | None:
    """The listening end's part: why this is not the right one, or None; who is has been replied to. Raises OSError."""
    challenge = new_challenge()
    connection.settimeout(left_s(until))
    connection.sendall(challenge)
    hello = _read_exactly(connection, HELLO_BYTES, until)
    refusal = place.refusal(challenge, hello)
    if refusal is None:
        connection.settimeout(left_s(until))
        connection.sendall(place.reply(challenge, hello))
    return refusal


def introduce(connection: socket.socket, place: Place, until: float) -> bool:
    """The connecting end's part: whether the other one knows the pipeline too. Raises OSError."""
    # Who we are goes out unasked: an end that has TLS while this one has not notices at once, and says so.
    greeting = place.greeting()
    connection.sendall(greeting)
    challenge = _read_exactly(connection, CHALLENGE_BYTES, until)
    hello = place.hello(challenge, greeting)
    connection.sendall(hello[len(greeting) :])
    return place.replied(challenge, hello, _read_exactly(connection, REPLY_BYTES, until))


def left_s(until: float) -> float:
    """The seconds until then. Raises TimeoutError where there are none."""
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def _read_exactly(connection: socket.socket, size: int, until: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        connection.settimeout(left_s(until))
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError("the other end closed it")
        data += piece
    return bytes(data)
