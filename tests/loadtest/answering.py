"""Servers that say one thing, and one request to them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loadtest.client import Client
from loadtest.clock import RunClock
from loadtest.record import Record
from loadtest.scenario import Closed, Kind, Requests, Scenario
from loadtest.workload import ask

clock = RunClock(time.time())
Answer = Callable[[socket.socket], None]


def send(url: str, model: str, *, kind: Kind = "completions", timeout_s: float = 20.0, **options: object) -> Record:
    request = Requests.model_validate({"kind": kind, "model": model, **options})
    made = ask(Scenario(name="s", requests=(request,), load=Closed(users=1)), 0)
    client = Client(url, clock, timeout_s=timeout_s, keep_text=True)
    try:
        return client.send(made, clock())
    finally:
        client.connections.close()


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server for one connection at a time that does what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def saying(body: bytes, kind: str = "application/json", status: str = "200 OK") -> Answer:
    """Without a length: the answer ends with the connection."""

    def answer(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n\r\n".encode() + body)

    return answer
