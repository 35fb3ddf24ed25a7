"""A slow cable, for kernels without netem: a process that hands on packets between an interface and a bridge, late.

Both are packet sockets. What the kernel would have left to the network card (checksums, cutting large packets) is told
in a header of its own, which is handed on with each packet (`PACKET_VNET_HDR`).
"""

from __future__ import annotations

import random
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from cluster.nodes.iproute import run_ip
from engine.errors import EngineFailed

_SOL_PACKET, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 263, 15, 23
_ALL_PROTOCOLS = 0x0003
_LONGEST = (1 << 16) + 256
_BUFFER = 16 << 20
_START_S = 20.0


@dataclass(slots=True)
class Relay:
    """The process, and the pair of interfaces that it puts between a cable and its bridge."""

    process: subprocess.Popen[bytes]
    inner: str

    @classmethod
    def between(cls, cable: str, bridge: str, *, delay_s: float, jitter_s: float) -> Relay:
        """Take `cable` off the bridge and put a relay between them. `close` does not put it back."""
        inner, outer = f"{cable}i", f"{cable}o"
        run_ip(f"link add {outer} type veth peer name {inner}")
        run_ip(f"link set {outer} master {bridge} up")
        run_ip(f"link set {inner} up")
        run_ip(f"link set {cable} nomaster")
        command = [sys.executable, "-m", "cluster.nodes.relay", cable, inner, str(delay_s), str(jitter_s)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        relay = cls(process, inner)
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(_START_S) or not process.stdout.readline():
                relay.close()
                raise EngineFailed(f"The relay that slows {cable} did not start.")
        return relay

    def close(self) -> None:
        """End the process and remove its interfaces."""
        self.process.kill()
        self.process.wait(_START_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        run_ip(f"link del {self.inner}", check=False)


def packet_socket(interface: str) -> socket.socket:
    """Sends and receives whole packets of an interface, each after its header for the card."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    made.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    made.bind((interface, 0))
    made.setblocking(False)
    return made


def relay(first: str, second: str, delay_s: float, jitter_s: float) -> None:
    """Hand packets on until the parent closes our standard input."""
    one, other = packet_socket(first), packet_socket(second)
    queues: dict[socket.socket, deque[tuple[float, bytes]]] = {one: deque(), other: deque()}
    selector = selectors.DefaultSelector()
    selector.register(one, selectors.EVENT_READ, other)
    selector.register(other, selectors.EVENT_READ, one)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        due = [send_due(to, queue, now) for to, queue in queues.items()]
        next_due = min((moment for moment in due if moment is not None), default=None)
        for key, _ in selector.select(None if next_due is None else max(0.0, next_due - now)):
            if key.data is None:
                return
            _take(key.fileobj, queues[key.data], time.monotonic() + delay_s, jitter_s)


def send_due(to: Any, queue: deque[tuple[float, bytes]], now: float) -> float | None:
    """Send what is due, in order. Returns when the next one is."""
    while queue and queue[0][0] <= now:
        try:
            to.send(queue.popleft()[1])
        except OSError:
            continue  # the interface is down, or its queue is full: lost, as on any cable
    return queue[0][0] if queue else None


def _take(source: Any, queue: deque[tuple[float, bytes]], due: float, jitter_s: float) -> None:
    for _ in range(64):
        try:
            packet = source.recv(_LONGEST)
        except OSError:
            return
        # Never before the one ahead of it: a cable does not reorder.
        last = queue[-1][0] if queue else 0.0
        queue.append((max(last, due + random.uniform(-jitter_s, jitter_s)), packet))


if __name__ == "__main__":
    relay(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
