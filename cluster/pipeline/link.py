"""A link carries messages one way over TCP, from one process of a ring to the next: from a `Sender` to a `Receiver`.

Whoever waits on a link is told with `LinkLost`: at once when the other process ended, when `close` is called here by
another thread, or when anything arrives that should not; after `silence_s` when nothing arrives at all, as the other
end gives a sign of life every `ALIVE_EVERY_S`. A link that is lost stays lost.

With TLS (see `cluster.tls`) a link is encrypted, and nothing else of it changes. A TLS connection may be used by one
thread at a time: a sender's is, under its lock, and a receiver's is too.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from cluster.pipeline import frames
from cluster.pipeline.handshake import Place
from cluster.pipeline.introductions import HANDSHAKE_S, TLS_HANDSHAKE_S, introduce, left_s, take_in
from cluster.tls import client_context, plainly, server_context
from engine.errors import EngineFailed
from engine.pipeline.message import Message

ALIVE_EVERY_S = 0.5
_SOCKET_BYTES = 4 << 20  # in each direction: so much can lie ready while the receiver computes
_READ_AHEAD = 64 << 10  # small messages come whole with one read, and go in one TLS record or few

Address = tuple[str, int]


class LinkLost(EngineFailed):
    """The other end of a link is gone, silent, or not who it should be."""


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Seconds. `send_s` is for a message as a whole, and again for each wait in it; it covers the receiver's longest
    step, during which it reads nothing. `silence_s` is without a single byte."""

    connect_s: float = 5.0
    silence_s: float = 2.0
    send_s: float = 90.0


class Listener:
    """Waits for the one connection of a place in the ring, at a free port of `host` (IPv4 or IPv6). Raises ConfigError
    for certificates that are no good."""

    def __init__(self, host: str, place: Place, limits: LinkLimits) -> None:
        self._tls = server_context()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=8)
        self._place, self._limits = place, limits
        self._lock = threading.Lock()
        self._closed = False
        self.address: Address = (host, int(self._socket.getsockname()[1]))

    def accept(self) -> Receiver:
        """Waits for the right one to connect; others are turned away. Raises LinkLost after `connect_s`."""
        deadline = time.monotonic() + self._limits.connect_s
        turned_away = ""
        with self._lock:
            while not self._closed and (left := deadline - time.monotonic()) > 0:
                try:
                    self._socket.settimeout(left)
                    connection, _ = self._socket.accept()
                except TimeoutError:
                    break
                except OSError as error:
                    reason = "it was closed here" if self._closed else str(error)
                    raise LinkLost(f"no link was made to {self.address}: {reason}") from None
                limit_s = HANDSHAKE_S if self._tls is None else TLS_HANDSHAKE_S
                until = min(time.monotonic() + limit_s, deadline)
                try:
                    if self._tls is not None:
                        connection.settimeout(left_s(until))
                        connection = self._tls.wrap_socket(connection, server_side=True)
                    refusal = take_in(connection, self._place, until)
                    if refusal is None:
                        return Receiver(connection, self._limits)
                    turned_away = f"; somebody was turned away: {refusal}"
                except OSError as error:
                    turned_away = f"; somebody was turned away: {plainly(error)}"
                connection.close()
        reason = "it was closed here" if self._closed else f"nobody came within {self._limits.connect_s} s"
        raise LinkLost(f"no link was made to {self.address}: {reason}{turned_away}")

    def close(self) -> None:
        """From any thread; one that waits in `accept` is told."""
        self._closed = True
        _shut(self._socket, self._lock)


class Sender:
    """The sending end. One thread sends; another, of its own, sees to the handshake, and then gives signs of life when
    there is nothing to send.

    Made without waiting for the other end, which replies when it gets round to it: call `confirm` before sending.
    Raises LinkLost, and ConfigError for certificates that are no good.
    """

    def __init__(self, to: Address, place: Place, limits: LinkLimits) -> None:
        self._to, self._place, self._limits = to, place, limits
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._lost: str | None = None
        self._number = 0
        self._sent_at = time.monotonic()
        tls = client_context()
        try:
            self._socket = socket.create_connection(to, timeout=limits.connect_s)
        except OSError as error:
            raise LinkLost(f"no link can be made to {to}: {error}") from None
        try:
            _tune(self._socket, limits)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=to[0], do_handshake_on_connect=False)
        except OSError as error:
            self._socket.close()
            raise LinkLost(f"no link can be made to {to}: {error}") from None
        self._made = threading.Event()
        self._alive = threading.Thread(target=self._live, name="link-alive", daemon=True)
        self._alive.start()

    def confirm(self) -> None:
        """Waits for the other end's reply. Raises LinkLost."""
        steps = 2 if isinstance(self._socket, ssl.SSLSocket) else 1
        if not self._made.wait(steps * self._limits.connect_s):
            raise self._loss(f"{self._to} did not take the link on in time")
        if self._lost is not None:
            raise LinkLost(self._lost)

    def _live(self) -> None:
        # Whoever makes a ring waits for its other end next, so that a handshake has to go on beside that.
        until = time.monotonic() + 2 * self._limits.connect_s  # that other end, and then `confirm`
        try:
            with self._lock:
                if isinstance(self._socket, ssl.SSLSocket):
                    self._socket.do_handshake()
                self._shake_hands(until)
        except OSError as error:
            self._loss(f"no link can be made to {self._to}: {plainly(error)}")
        except LinkLost as error:
            self._loss(error.message)
        finally:
            self._made.set()
        self._give_signs_of_life()

    def _shake_hands(self, until: float) -> None:
        try:
            known = introduce(self._socket, self._place, until)
            self._socket.settimeout(self._limits.send_s)
        except OSError as error:
            raise LinkLost(f"{self._to} did not take the link on: {plainly(error)}") from None
        if not known:
            raise LinkLost(f"who listens at {self._to} does not know this pipeline")

    def pack(self, message: Message) -> list[bytes | memoryview]:
        """The next message's frame, for `send`. Raises FrameError for what cannot be sent."""
        return frames.pack(message, self._number)

    def send(self, frame: list[bytes | memoryview]) -> None:
        """Sends a frame just packed. Blocks while the other end has not read what was sent before. Raises LinkLost."""
        with self._lock:
            if self._lost is not None:
                raise LinkLost(self._lost)
            try:
                self._write(frame)
            except OSError as error:
                raise self._loss(f"nothing can be sent to {self._to}: {error}") from None
            self._number += 1
            self._sent_at = time.monotonic()

    def close(self) -> None:
        """From any thread; one that waits in `send` is told."""
        self._lost = self._lost or "the link was closed here"
        self._ended.set()
        _shut(self._socket, self._lock)
        self._alive.join(timeout=2 * ALIVE_EVERY_S)

    def _write(self, pieces: list[bytes | memoryview]) -> None:
        deadline = time.monotonic() + self._limits.send_s
        views = [memoryview(piece) for piece in pieces]
        over_tls = isinstance(self._socket, ssl.SSLSocket)
        if over_tls:
            views = [view for view in views if view]
            if sum(map(len, views)) <= _READ_AHEAD:
                views = [memoryview(b"".join(views))]
        while True:
            sent = self._socket.send(views[0]) if over_tls else self._socket.sendmsg(views)
            while views and sent >= len(views[0]):
                sent -= len(views.pop(0))
            if not views:
                return
            views[0] = views[0][sent:]
            if time.monotonic() > deadline:
                raise TimeoutError("timed out, byte by byte")

    def _give_signs_of_life(self) -> None:
        wait_s = ALIVE_EVERY_S
        while not self._ended.wait(wait_s):
            wait_s = self._sent_at + ALIVE_EVERY_S - time.monotonic()
            if wait_s > 0 or not self._lock.acquire(blocking=False):
                wait_s = max(wait_s, ALIVE_EVERY_S / 4)
                continue
            try:
                if self._lost is None:
                    self._sign_of_life()
            except OSError as error:
                self._lost = f"nothing can be sent to {self._to}: {error}"
            finally:
                self._lock.release()
            if self._lost is not None:
                return
            wait_s = ALIVE_EVERY_S

    def _sign_of_life(self) -> None:
        # A socket with a timeout waits before it sends, whatever the flags; and `send` would wait for this lock.
        if not _ready(self._socket, select.POLLOUT):
            return  # the other end has plenty to read
        sign = frames.alive(self._number)
        sent = self._socket.send(sign)
        if sent < len(sign):
            self._write([sign[sent:]])
        self._sent_at = time.monotonic()

    def _loss(self, reason: str) -> LinkLost:
        self._lost = self._lost or reason
        return LinkLost(self._lost)


class Receiver:
    """The receiving end, made by `Listener.accept`. One thread receives; `drain` and `close` may come from others."""

    def __init__(self, connection: socket.socket, limits: LinkLimits) -> None:
        self._socket, self._limits = connection, limits
        self._lock = threading.Lock()
        self._lost: str | None = None
        self.number = 0  # of the message that comes next
        self._ahead = memoryview(bytearray(_READ_AHEAD))
        self._start = self._end = 0  # of what was read ahead and is not taken yet
        try:
            _tune(connection, limits)
            connection.settimeout(limits.silence_s)
        except OSError as error:
            connection.close()
            raise LinkLost(f"the link was lost as it was made: {error}") from None

    def receive(self, timeout_s: float | None = None) -> Message:
        """Waits for the next message. Raises LinkLost, also where none comes within `timeout_s` (give or take a sign of
        life)."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            if self._lost is not None:
                raise LinkLost(self._lost)
            try:
                while True:
                    header = frames.Header.unpack(self._take(frames.HEADER_BYTES), self.number)
                    if header.kind == frames.MESSAGE:
                        return self._message(header)
                    if deadline is not None and time.monotonic() > deadline:
                        raise TimeoutError(f"no message came within {timeout_s:.0f} s, though its sender lives")
            except TimeoutError as error:
                silence = f"nothing arrived for {self._limits.silence_s} s"
                self._lost = self._lost or (str(error) if str(error) != "timed out" else silence)
            except (OSError, frames.FrameError) as error:
                self._lost = self._lost or str(error)
            raise LinkLost(self._lost)

    def drain(self) -> None:
        """Takes the signs of life that have come by now, which would fill the sender's buffers while nobody receives.
        Leaves messages where they are, and waits for nothing. Raises LinkLost where the other end is gone."""
        if not self._lock.acquire(blocking=False):
            return  # somebody receives
        try:
            while self._lost is None and self._header_came():
                header = bytes(self._ahead[self._start : self._start + frames.HEADER_BYTES])
                if frames.Header.unpack(header, self.number).kind == frames.MESSAGE:
                    break
                self._start += len(header)
        except (OSError, frames.FrameError) as error:
            self._lost = self._lost or str(error)
        finally:
            self._lock.release()
        if self._lost is not None:
            raise LinkLost(self._lost)

    def close(self) -> None:
        """From any thread; one that waits in `receive` is told."""
        self._lost = self._lost or "the link was closed here"
        _shut(self._socket, self._lock)

    def _header_came(self) -> bool:
        """Whether a whole header was read ahead, or can be at this moment."""
        while (kept := self._end - self._start) < frames.HEADER_BYTES:
            if not _ready(self._socket, select.POLLIN):
                return False
            self._ahead[:kept] = bytes(self._ahead[self._start : self._end])
            self._start, self._end = 0, kept
            self._end += self._read(self._ahead[kept:])
        return True

    def _message(self, header: frames.Header) -> Message:
        message = frames.unpack_head(header, self._take(header.head_bytes))
        for tensor in message.tensors:
            self._fill(frames.memory(tensor))
        self.number += 1
        return message

    def _take(self, size: int) -> bytes:
        if size <= self._end - self._start:
            self._start += size
            return bytes(self._ahead[self._start - size : self._start])
        taken = bytearray(size)
        self._fill(memoryview(taken))
        return bytes(taken)

    def _fill(self, target: memoryview) -> None:
        """With what was read ahead first. The rest of something large goes from the socket to where it belongs."""
        while target:
            if self._start == self._end and len(target) < _READ_AHEAD:
                self._start, self._end = 0, self._read(self._ahead)
            if self._start < self._end:
                got = min(len(target), self._end - self._start)
                target[:got] = self._ahead[self._start : self._start + got]
                self._start += got
            else:
                got = self._read(target)
            target = target[got:]

    def _read(self, target: memoryview) -> int:
        try:
            if got := self._socket.recv_into(target):
                return got
        except ConnectionError:
            pass
        except TimeoutError:
            raise TimeoutError("timed out") from None  # TLS has other words for it
        raise ConnectionError("the other end of the link is gone")


def _tune(connection: socket.socket, limits: LinkLimits) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BYTES)
    # Linux also gives up after so long where the receiver is alive but has not read: no less than a step may take.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.send_s * 1000))


def _ready(connection: socket.socket, event: int) -> bool:
    """Whether a socket can be read from (POLLIN) or written to (POLLOUT) at this moment; also where it is lost."""
    if event == select.POLLIN and isinstance(connection, ssl.SSLSocket) and connection.pending():
        return True
    poll = select.poll()  # unlike `select`, for any number of open files
    poll.register(connection, event)
    return bool(poll.poll(0))


def _shut(connection: socket.socket, in_use: threading.Lock) -> None:
    """Wakes whoever waits on a socket, then closes it once nobody uses it: its number may be another's right after."""
    with suppress(OSError):  # it may not be connected any more
        # Not TLS' own: that forgets its keys first, and another thread could send in clear until the end.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    if in_use.acquire(timeout=5.0):
        connection.close()
        in_use.release()
