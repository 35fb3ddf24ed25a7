"""Links over loopback, within one process."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import torch

from cluster.pipeline import frames, link
from cluster.pipeline.handshake import (
    CHALLENGE_BYTES,
    HELLO_BYTES,
    REPLY_BYTES,
    Membership,
    Place,
    new_challenge,
)
from cluster.pipeline.link import LinkLimits, LinkLost, Listener, Receiver, Sender
from engine.pipeline.message import Message
from tests.cluster.pipeline.links import PATIENT, PLACE, greet, linked, read, send

SMALL = Message("x", {"n": 1}, (torch.arange(6.0).reshape(2, 3),))
WAIT_S = 20.0


def raw(stack: ExitStack, limits: LinkLimits = PATIENT) -> tuple[socket.socket, Receiver]:
    """A receiver, and a socket that has passed the handshake and may now send anything."""
    listener = Listener("127.0.0.1", PLACE, limits)
    stack.callback(listener.close)
    connection = stack.enter_context(socket.create_connection(listener.address, timeout=WAIT_S))
    with ThreadPoolExecutor(1) as pool:
        accepting = pool.submit(listener.accept)
        greet(connection, PLACE)
        receiver = accepting.result(WAIT_S)
    stack.callback(receiver.close)
    return connection, receiver


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_messages_arrive_in_order(stack: ExitStack, host: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("no IPv6 here")
    sender, receiver = linked(stack, host=host)
    for number in range(5):
        send(sender, replace(SMALL, meta={"n": number}))
    for number in range(5):
        message = receiver.receive()
        assert (message.kind, message.meta) == ("x", {"n": number})
        assert torch.equal(message.tensors[0], SMALL.tensors[0])


def test_large_tensors_of_any_bits(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    """Larger than what the sockets hold, so that sender and receiver have to go on together."""
    sender, receiver = linked(stack)
    raw_bits = torch.randint(0, 256, (24 << 20,), dtype=torch.uint8)
    tensors = (raw_bits.view(torch.bfloat16), raw_bits[:10], raw_bits[: 1 << 20].view(torch.int32).reshape(-1, 64).t())
    sending = pool.submit(send, sender, Message("x", {}, tensors))
    message = receiver.receive()
    sending.result(WAIT_S)
    for got, expected in zip(message.tensors, tensors, strict=True):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert bytes(frames.memory(got)) == bytes(frames.memory(expected.contiguous()))


def test_a_message_that_comes_in_crumbs(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    connection, receiver = raw(stack)
    receiving = pool.submit(receiver.receive)
    for byte in b"".join(frames.pack(SMALL, 0)):
        connection.sendall(bytes([byte]))
    assert torch.equal(receiving.result(WAIT_S).tensors[0], SMALL.tensors[0])


def test_signs_of_life_keep_an_idle_link(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver would give up before its sender has something to say."""
    monkeypatch.setattr(link, "ALIVE_EVERY_S", 0.02)
    sender, receiver = linked(stack, LinkLimits(connect_s=20.0, silence_s=0.4, send_s=20.0))
    later = threading.Timer(0.6, send, (sender, SMALL))
    later.start()
    assert receiver.receive().kind == "x"
    later.join(WAIT_S)
    with pytest.raises(LinkLost, match="no message came within 0 s, though its sender lives"):
        receiver.receive(timeout_s=0.1)


def test_signs_of_life_are_taken_from_an_idle_link(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    connection, receiver = raw(stack)
    sign = frames.alive(0)
    receiver.drain()
    connection.sendall(3 * sign + sign[:10])
    wait_until_readable(receiver)
    receiver.drain()
    assert not readable(receiver)
    connection.sendall(sign[10:] + b"".join(frames.pack(SMALL, 0)))
    wait_until_readable(receiver)
    for _ in range(2):
        receiver.drain()
    assert torch.equal(receiver.receive().tensors[0], SMALL.tensors[0]), "messages stay"
    receiving = waits(receiver.receive, pool)
    receiver.drain()
    connection.sendall(b"".join(frames.pack(SMALL, 1)))
    assert receiving.result(WAIT_S).meta == SMALL.meta


def test_the_end_of_an_idle_link_is_noticed(stack: ExitStack) -> None:
    connection, receiver = raw(stack)
    connection.close()
    wait_until_readable(receiver)
    for _ in range(2):
        with pytest.raises(LinkLost, match="is gone"):
            receiver.drain()


def test_a_sign_of_life_waits_for_nothing(stack: ExitStack) -> None:
    """Somebody who has not read for long has plenty to read; and whoever sends waits for the same lock."""
    sender, _ = linked(stack)
    sender._socket.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            sender._socket.send(bytes(1 << 20))
    sender._socket.settimeout(0.2)
    sender._sign_of_life()


def test_silence_is_noticed(stack: ExitStack) -> None:
    _, receiver = raw(stack, LinkLimits(silence_s=0.1))
    for _ in range(2):
        with pytest.raises(LinkLost, match=r"nothing arrived for 0\.1 s"):
            receiver.receive()


def test_silence_in_the_middle_of_a_message(stack: ExitStack) -> None:
    connection, receiver = raw(stack, LinkLimits(silence_s=0.1))
    connection.sendall(b"".join(frames.pack(SMALL, 0))[:-1])
    with pytest.raises(LinkLost, match="nothing arrived"):
        receiver.receive()


def test_an_end_in_the_middle_of_a_message(stack: ExitStack) -> None:
    connection, receiver = raw(stack)
    connection.sendall(b"".join(frames.pack(SMALL, 0))[:-1])
    connection.close()
    with pytest.raises(LinkLost, match="is gone"):
        receiver.receive()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"?" * frames.HEADER_BYTES, "damaged"),
        (b"".join(frames.pack(SMALL, 1)), "message 1 arrived where 0 was due"),
        (frames.Header(frames.MESSAGE, 0, 0, 2, 0).pack() + b"{}", "cannot be read"),
        (frames.Header(frames.MESSAGE, 1, 0, 28, 4).pack() + b'["x",{},[["float32",[2,5]]]]', "take 40 bytes"),
    ],
)
def test_what_should_not_arrive_ends_the_link(stack: ExitStack, data: bytes, why: str) -> None:
    connection, receiver = raw(stack)
    connection.sendall(data)
    with pytest.raises(LinkLost, match=why):
        receiver.receive()
    with pytest.raises(LinkLost, match=why):
        receiver.receive()


def test_what_cannot_be_sent_leaves_the_link_as_it_was(stack: ExitStack) -> None:
    sender, receiver = linked(stack)
    with pytest.raises(frames.FrameError):
        send(sender, Message("x", {"a": object()}, ()))
    send(sender, SMALL)
    assert receiver.receive().meta == SMALL.meta


def test_a_receiver_that_ends_is_noticed_while_sending(stack: ExitStack) -> None:
    sender, receiver = linked(stack)
    receiver.close()
    large = Message("x", {}, (torch.zeros(16 << 20),))  # more than may still go into the socket's buffer
    with pytest.raises(LinkLost, match="nothing can be sent"):
        send(sender, large)


def test_a_receiver_that_never_reads_is_noticed(stack: ExitStack) -> None:
    sender, _ = linked(stack, LinkLimits(send_s=0.2))
    with pytest.raises(LinkLost, match="timed out"):
        send(sender, Message("x", {}, (torch.zeros(16 << 20),)))
    with pytest.raises(LinkLost, match="timed out"):
        send(sender, SMALL)


def waits(call: Callable[[], Any], pool: ThreadPoolExecutor) -> Future[Any]:
    """Another thread that waits in a call by now."""
    inside = threading.Event()

    def run() -> Any:
        inside.set()
        return call()

    waiting = pool.submit(run)
    assert inside.wait(WAIT_S)
    time.sleep(0.05)  # it may still be just before the wait: then it is told there
    return waiting


def test_closing_tells_who_waits(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    """Each of them would wait for 20 s and then say something else."""
    sender, receiver = linked(stack)
    receiving = waits(receiver.receive, pool)
    receiver.close()
    with pytest.raises(LinkLost, match="closed here"):
        receiving.result(WAIT_S)

    sender, receiver = linked(stack)
    sending = waits(lambda: send(sender, Message("x", {}, (torch.zeros(16 << 20),))), pool)
    sender.close()
    with pytest.raises(LinkLost, match="closed here"):
        sending.result(WAIT_S)

    listener = Listener("127.0.0.1", PLACE, PATIENT)
    accepting = waits(listener.accept, pool)
    listener.close()
    with pytest.raises(LinkLost, match="closed here"):
        accepting.result(WAIT_S)


def test_closing_twice_and_using_what_is_closed(stack: ExitStack) -> None:
    sender, receiver = linked(stack)
    for _ in range(2):
        sender.close()
        receiver.close()
    with pytest.raises(LinkLost, match="closed here"):
        send(sender, SMALL)
    with pytest.raises(LinkLost, match="closed here"):
        receiver.receive()


def test_nothing_is_left_of_a_link(stack: ExitStack) -> None:
    threads = threading.active_count()
    sender, receiver = linked(stack)
    assert threading.active_count() == threads + 1
    sender.close()
    receiver.close()
    assert threading.active_count() == threads
    assert (sender._socket.fileno(), receiver._socket.fileno()) == (-1, -1)


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (PLACE.hello(bytes(CHALLENGE_BYTES), PLACE.greeting()), "does not know this pipeline"),
        (b"GET / HTTP/1.1\r\n".ljust(HELLO_BYTES), "another protocol"),
        (b"short", "the other end closed it"),
    ],
    ids=["challenge", "protocol", "short"],
)
def test_the_wrong_ones_are_turned_away_and_the_right_one_is_still_waited_for(
    stack: ExitStack, hello: bytes, why: str
) -> None:
    listener = Listener("127.0.0.1", PLACE, PATIENT)
    stack.callback(listener.close)
    with socket.create_connection(listener.address, timeout=WAIT_S) as stranger:
        stranger.sendall(hello)
        stranger.shutdown(socket.SHUT_WR)
        sender = Sender(listener.address, PLACE, PATIENT)
        stack.callback(sender.close)
        stack.callback(listener.accept().close)
        sender.confirm()
        assert len(read(stranger, 1000)) == CHALLENGE_BYTES, "it is told more than the challenge"

    alone = Listener("127.0.0.1", PLACE, LinkLimits(connect_s=0.3))
    stack.callback(alone.close)
    with socket.create_connection(alone.address, timeout=WAIT_S) as stranger:
        stranger.sendall(hello)
        stranger.shutdown(socket.SHUT_WR)
        with pytest.raises(LinkLost, match=f"turned away: .*{why}"):
            alone.accept()


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (replace(PLACE, epoch=2), "for link 0 of epoch 2"),
        (replace(PLACE, membership=Membership.new()), "does not know this pipeline"),
    ],
    ids=["epoch", "pipeline"],
)
def test_senders_of_another_place_are_turned_away(
    stack: ExitStack, pool: ThreadPoolExecutor, place: Place, why: str
) -> None:
    listener = Listener("127.0.0.1", PLACE, LinkLimits(connect_s=1.0))
    stack.callback(listener.close)
    accepting = pool.submit(listener.accept)
    sender = Sender(listener.address, place, PATIENT)
    stack.callback(sender.close)
    with pytest.raises(LinkLost, match="did not take the link on"):
        sender.confirm()
    with pytest.raises(LinkLost, match=f"turned away: .*{why}"):
        accepting.result(WAIT_S)


def test_what_a_sender_said_cannot_be_said_again(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    """By somebody who read all of it on the way, and is faster at the next listener of the same place."""
    first, second = (Listener("127.0.0.1", PLACE, LinkLimits(connect_s=1.0)) for _ in range(2))
    stack.callback(first.close)
    stack.callback(second.close)
    accepting = pool.submit(first.accept)
    with socket.create_connection(first.address, timeout=WAIT_S) as connection:
        hello = greet(connection, PLACE)
        accepting.result(WAIT_S).close()
    with socket.create_connection(second.address, timeout=WAIT_S) as stranger:
        stranger.sendall(hello)
        with pytest.raises(LinkLost, match="turned away: it does not know this pipeline"):
            second.accept()


def test_what_a_listener_replied_cannot_be_replied_again(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    challenge = new_challenge()
    earlier = PLACE.reply(challenge, PLACE.hello(challenge, PLACE.greeting()))
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = Sender(server.getsockname(), PLACE, PATIENT)
        stack.callback(sender.close)
        connection, _ = server.accept()
        stack.enter_context(connection).sendall(challenge + earlier)
        with pytest.raises(LinkLost, match="does not know this pipeline"):
            sender.confirm()


def test_a_stranger_byte_by_byte_has_no_longer_than_one_who_says_nothing(
    stack: ExitStack, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes long before the limit. Who waits for each of them hears all and has another reason to refuse."""
    monkeypatch.setattr(link, "HANDSHAKE_S", 0.3)
    listener = Listener("127.0.0.1", PLACE, LinkLimits(connect_s=0.3))
    stack.callback(listener.close)
    stranger = stack.enter_context(socket.create_connection(listener.address, timeout=WAIT_S))
    with saying(stranger, pool), pytest.raises(LinkLost, match=r"nobody came .* somebody was turned away: timed out"):
        listener.accept()


def test_a_listener_byte_by_byte_is_not_waited_for(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = Sender(server.getsockname(), PLACE, LinkLimits(connect_s=0.15))
        stack.callback(sender.close)
        connection, _ = server.accept()
        with saying(stack.enter_context(connection), pool):
            assert sender._made.wait(WAIT_S)
            with pytest.raises(LinkLost, match="did not take the link on: timed out"):
                sender.confirm()


@contextmanager
def saying(connection: socket.socket, pool: ThreadPoolExecutor) -> Iterator[None]:
    """A byte every 10 ms."""
    ended = threading.Event()

    def say() -> None:
        while not ended.wait(0.01):
            with suppress(OSError):
                connection.sendall(b"?")

    talking = pool.submit(say)
    try:
        yield
    finally:
        ended.set()
        talking.result(WAIT_S)


def test_nobody_comes(stack: ExitStack) -> None:
    listener = Listener("127.0.0.1", PLACE, LinkLimits(connect_s=0.1))
    stack.callback(listener.close)
    with pytest.raises(LinkLost, match=r"nobody came within 0\.1 s"):
        listener.accept()


def test_nobody_listens() -> None:
    listener = Listener("127.0.0.1", PLACE, PATIENT)
    listener.close()
    with pytest.raises(LinkLost, match="no link can be made"):
        Sender(listener.address, PLACE, PATIENT)


def test_a_sender_makes_sure_of_who_listens(stack: ExitStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = Sender(server.getsockname(), PLACE, PATIENT)
        stack.callback(sender.close)
        connection, _ = server.accept()
        stack.enter_context(connection).sendall(bytes(CHALLENGE_BYTES + REPLY_BYTES))
        with pytest.raises(LinkLost, match="does not know this pipeline"):
            sender.confirm()
        silent = Sender(server.getsockname(), PLACE, LinkLimits(connect_s=0.1))
        stack.callback(silent.close)
        with pytest.raises(LinkLost, match="did not take the link on"):
            silent.confirm()


def readable(receiver: Receiver) -> bool:
    return bool(select.select([receiver._socket], [], [], 0)[0])


def wait_until_readable(receiver: Receiver) -> None:
    assert select.select([receiver._socket], [], [], WAIT_S)[0], "nothing came"


def test_strangers_who_say_nothing_do_not_keep_the_right_one_out(stack: ExitStack) -> None:
    listener = Listener("127.0.0.1", PLACE, LinkLimits())
    stack.callback(listener.close)
    for _ in range(4):
        stack.enter_context(socket.create_connection(listener.address, timeout=WAIT_S))
    sender = Sender(listener.address, PLACE, PATIENT)
    stack.callback(sender.close)
    stack.callback(listener.accept().close)
    sender.confirm()


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
