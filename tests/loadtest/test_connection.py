from __future__ import annotations

import socket
import threading
import time

import pytest

from loadtest.client import Client
from loadtest.connection import Connections
from loadtest.errors import LoadTestError
from loadtest.scenario import Closed, Requests, Scenario
from loadtest.workload import ask
from tests.loadtest.answering import answering, clock, send


@pytest.mark.parametrize("url", ["http://a:80000", "http://a:abc", "http://a:0", "http://[::1", "ftp://a", "http://ü"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(LoadTestError, match="not an address"):
        Connections(url)


def test_a_name_that_no_server_can_have_is_no_connection() -> None:
    assert send("http://a..b", "m").failure == "connection"


def test_a_kept_connection_that_the_server_had_closed_is_no_failure() -> None:
    """It answers once on each connection and closes it without a word, as servers do with idle ones."""
    body = b'{"data": [{"label": "a"}]}'
    answered = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        answered.set()

    request = Requests(kind="classify", model="m")
    made = ask(Scenario(name="s", requests=(request,), load=Closed(users=1)), 0)
    with answering(answer) as url:
        client = Client(url, clock, timeout_s=10)
        records = []
        for _ in range(3):
            answered.clear()
            records.append(client.send(made, clock()))
            assert answered.wait(10)
            time.sleep(0.02)  # the close comes
        client.connections.close()
    assert [record.failure for record in records] == ["", "", ""]
