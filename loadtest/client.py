"""Sends one request and notes when everything of its answer came.

Locust's own client is not used for that: its `iter_lines` waits for 1,024 bytes, which shows first tokens late, and its
`response_time` of a stream is the time to the headers. Here a time is taken when a piece of the answer has been
received, before anything is made of it.

No request is sent twice. One that gets no answer may have been at work in the server, and a second try would hide that,
and the time that it took.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable

from loadtest.answer import MESSAGE_CHARACTERS, Answer, Broken
from loadtest.connection import CONNECT_S, Connections
from loadtest.errors import LoadTestError
from loadtest.record import Failure, Record
from loadtest.workload import Ask

PIECE = 1 << 16
OWN_LIMITS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
Clock = Callable[[], float]


class Client:
    """One server's client, for as many requests at once as there are callers. Times are the clock's."""

    def __init__(self, url: str, clock: Clock, *, timeout_s: float, api_key: str = "", keep_text: bool = False) -> None:
        """Raises LoadTestError for an address or a key that is none."""
        self.connections = Connections(url)
        self._clock, self._timeout_s, self._keep_text = clock, timeout_s, keep_text
        self._key = key_header(api_key)

    def send(self, ask: Ask, scheduled_s: float, *, keep_text: bool = False) -> Record:
        """One request, to the end of its answer or to its failure, which is in the record."""
        record = new_record(ask, scheduled_s)
        self.exchange(ask, record, keep_text=keep_text)
        return record

    def exchange(self, ask: Ask, record: Record, *, keep_text: bool = False) -> None:
        """The same into a record that the caller has: who is stopped meanwhile has it yet, as "unfinished". Raises
        nothing else."""
        record.sent_s = self._clock()
        record.failure, record.message = "unfinished", "the run was stopped before its end"
        answer = Answer(record, ask, keep_text or self._keep_text)
        try:
            self._exchange(ask, answer, time.monotonic() + self._timeout_s)
            answer.finish()
            record.failure, record.message = "", ""
        except Broken as error:
            record.failure, record.message = error.failure, str(error)
        except TimeoutError:
            record.failure, record.message = "timeout", f"not complete within {self._timeout_s:g} s"
        except OSError as error:
            record.failure = "cut" if record.headers_s is not None else "connection"
            record.message = f"{type(error).__name__}: {error}"
        except Exception as error:  # whatever a server may say: the request has failed, and the load goes on
            record.failure, record.message = "answer", f"it cannot be read: {type(error).__name__}: {error}"
        finally:
            record.message = _writable(record.message[:MESSAGE_CHARACTERS])
            record.text = _writable(record.text)
            record.end_s = self._clock()

    def _exchange(self, ask: Ask, answer: Answer, deadline: float) -> None:
        connection = self._connect(deadline)
        answer.record.connected_s = self._clock()
        try:
            connection.settimeout(_left(deadline))
            connection.sendall(self._head(ask).encode("latin-1") + ask.body)
            while not answer.complete:
                connection.settimeout(_left(deadline))
                if piece := _receive(connection, answer.record):
                    answer.take(piece, self._clock())
                else:
                    answer.ended()
        except BaseException:
            connection.close()
            raise
        if answer.reusable:
            self.connections.keep(connection)
        else:
            connection.close()

    def _connect(self, deadline: float) -> socket.socket:
        """Raises Broken."""
        limit_s = min(CONNECT_S, _left(deadline))
        try:
            return self.connections.take(limit_s)
        except TimeoutError:
            raise Broken("connection", f"no connection within {limit_s:.3g} s") from None
        except OSError as error:
            failure: Failure = "client" if error.errno in OWN_LIMITS else "connection"
            raise Broken(failure, f"{type(error).__name__}: {error}") from None

    def _head(self, ask: Ask) -> str:
        return (
            f"POST {self.connections.prefix}{ask.path} HTTP/1.1\r\nHost: {self.connections.host}\r\n"
            f"Content-Type: application/json\r\nAccept: */*\r\n{self._key}Content-Length: {len(ask.body)}\r\n\r\n"
        )


def new_record(ask: Ask, scheduled_s: float) -> Record:
    """Of a request that was not sent yet."""
    return Record(ask.number, ask.kind, ask.model, scheduled_s, items=ask.items, exact_tokens=ask.exact_tokens)


def key_header(api_key: str) -> str:
    """The header's line; none without a key. Raises LoadTestError for one that no header can have."""
    if not (api_key.isascii() and api_key.isprintable()):
        raise LoadTestError("The API key has line ends or letters that no HTTP header can have. Give another.")
    return f"Authorization: Bearer {api_key}\r\n" if api_key else ""


def _receive(connection: socket.socket, record: Record) -> bytes:
    """Nothing where the server has closed it; also where it broke off a refusal, whose status is known."""
    try:
        return connection.recv(PIECE)
    except ConnectionError:
        if record.status in (0, 200):
            raise
        return b""


def _left(deadline: float) -> float:
    """Seconds, above zero. Raises TimeoutError when none are left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _writable(text: str) -> str:
    """Without halves of characters, which JSON can have and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()
