"""Links over TLS, with real certificates and sockets."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import torch

from cluster.pipeline import link
from cluster.pipeline.link import LinkLimits, LinkLost, Listener, Sender
from engine.pipeline.message import Message
from tests.cluster.certificates import Authority, Certificate
from tests.cluster.pipeline.links import PATIENT, PLACE, linked, send

WAIT_S = 20.0


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Authority(tmp_path_factory.mktemp("tls") / "ours").sign("node")


@pytest.fixture(autouse=True)
def tls(monkeypatch: pytest.MonkeyPatch, ours: Certificate) -> None:
    ours.use(monkeypatch)


def test_messages_of_all_sizes(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    sender, receiver = linked(stack)
    sent = [
        Message("x", {"n": size}, (torch.randn(size), torch.empty(0), torch.arange(size)))
        for size in (0, 1, 100, 20_000, 1_000_000)
    ]

    def send_all() -> None:
        for message in sent:
            send(sender, message)

    sending = pool.submit(send_all)
    for message in sent:
        came = receiver.receive()
        assert came.meta == message.meta
        assert all(torch.equal(one, other) for one, other in zip(came.tensors, message.tensors, strict=True))
    sending.result(WAIT_S)


def test_nothing_of_it_can_be_read_on_the_way(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    """Through a relay that keeps what passes it."""
    seen = bytearray()
    listener = Listener("127.0.0.1", PLACE, PATIENT)
    stack.callback(listener.close)
    relay = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    relay.settimeout(WAIT_S)

    def pass_on() -> None:
        near, _ = relay.accept()
        with near, socket.create_connection(listener.address, timeout=WAIT_S) as far:

            def one_way(source: socket.socket, target: socket.socket) -> None:
                while data := source.recv(1 << 16):
                    seen.extend(data)
                    target.sendall(data)

            back = pool.submit(one_way, far, near)
            one_way(near, far)
            far.shutdown(socket.SHUT_WR)
            back.result(WAIT_S)

    passing = pool.submit(pass_on)
    sender = Sender(relay.getsockname(), PLACE, PATIENT)
    stack.callback(sender.close)
    receiver = listener.accept()
    stack.callback(receiver.close)
    sender.confirm()
    send(sender, Message("secret-kind", {"words": "secret words"}, (torch.zeros(1000),)))
    assert receiver.receive().meta == {"words": "secret words"}
    sender.close()
    receiver.close()
    passing.result(WAIT_S)
    assert len(seen) > 4000
    assert b"secret" not in seen
    assert bytes(100) not in seen
    assert PLACE.membership.name not in seen


def test_signs_of_life_keep_an_idle_link(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "ALIVE_EVERY_S", 0.02)
    sender, receiver = linked(stack, LinkLimits(connect_s=20.0, silence_s=1.0, send_s=20.0))
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        receiver.drain()
        time.sleep(0.02)
    send(sender, Message("x", {"n": 1}, ()))
    assert receiver.receive(WAIT_S).meta == {"n": 1}


def test_silence_and_ends_are_noticed(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "ALIVE_EVERY_S", 60.0)
    _, receiver = linked(stack, LinkLimits(connect_s=20.0, silence_s=0.1, send_s=20.0))
    with pytest.raises(LinkLost, match="nothing arrived for"):
        receiver.receive()
    sender, receiver = linked(stack)
    sender.close()
    with pytest.raises(LinkLost):
        receiver.receive()
    sender, receiver = linked(stack)
    receiver.close()

    def send_much() -> None:
        for _ in range(1000):
            send(sender, Message("x", {}, (torch.zeros(10_000),)))

    with pytest.raises(LinkLost):
        send_much()


def test_closing_tells_who_waits(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    sender, receiver = linked(stack)
    waiting = pool.submit(receiver.receive)
    receiver.close()
    with pytest.raises(LinkLost):
        waiting.result(WAIT_S)
    sender.close()
    with pytest.raises(LinkLost, match="closed here"):
        send(sender, Message("x", {}, ()))


def test_a_stranger_is_turned_away_and_the_right_one_still_waited_for(
    stack: ExitStack, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, ours: Certificate, tmp_path: Path
) -> None:
    listener = Listener("127.0.0.1", PLACE, PATIENT)
    stack.callback(listener.close)
    accepting = pool.submit(listener.accept)
    with socket.create_connection(listener.address, timeout=WAIT_S) as plain:
        plain.sendall(PLACE.greeting())
        with suppress(ConnectionResetError):
            assert plain.recv(1) in (b"", b"\x15")  # an end, or TLS' alert
    stranger = Authority(tmp_path / "theirs").sign("stranger")
    stranger.use(monkeypatch)
    sender = Sender(listener.address, PLACE, PATIENT)
    stack.callback(sender.close)
    with pytest.raises(LinkLost, match="its certificate does not hold here"):
        sender.confirm()
    ours.use(monkeypatch)
    sender = Sender(listener.address, PLACE, PATIENT)
    stack.callback(sender.close)
    stack.callback(accepting.result(WAIT_S).close)
    sender.confirm()


def test_who_listens_without_tls_is_told_of(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.delenv("RAY_USE_TLS")
        listener = Listener("127.0.0.1", PLACE, LinkLimits(connect_s=1.5))
        stack.callback(listener.close)
    sender = Sender(listener.address, PLACE, PATIENT)
    stack.callback(sender.close)
    with pytest.raises(LinkLost, match="somebody was turned away: it speaks another protocol"):
        listener.accept()
    with pytest.raises(LinkLost):
        sender.confirm()


def test_a_sender_that_is_closed_while_it_is_made(stack: ExitStack) -> None:
    silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    sender = Sender(silent.getsockname(), PLACE, PATIENT)
    sender.close()
    with pytest.raises(LinkLost, match="closed here"):
        sender.confirm()
    assert not sender._alive.is_alive()
