from __future__ import annotations

import socket
from collections import deque

from cluster.nodes.relay import send_due


def test_what_is_due_is_sent_in_order_and_the_rest_waits() -> None:
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiver, sender:
        queue = deque([(1.0, b"first"), (2.0, b"second"), (3.0, b"third")])
        assert send_due(sender, queue, now=0.5) == 1.0
        assert send_due(sender, queue, now=2.0) == 3.0
        assert [receiver.recv(10), receiver.recv(10)] == [b"first", b"second"]
        assert send_due(sender, queue, now=9.0) is None
        assert receiver.recv(10) == b"third"


def test_what_cannot_be_sent_is_lost_and_does_not_stop_the_rest() -> None:
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender:
        receiver.close()
        assert send_due(sender, deque([(1.0, b"a"), (2.0, b"b")]), now=2.0) is None
