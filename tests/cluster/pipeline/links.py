"""Both ends of a link, in one process."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from cluster.pipeline.handshake import CHALLENGE_BYTES, REPLY_BYTES, Membership, Place
from cluster.pipeline.link import LinkLimits, Listener, Receiver, Sender
from engine.pipeline.message import Message

PLACE = Place(Membership.new(), epoch=1, link=0)
PATIENT = LinkLimits(connect_s=20.0, silence_s=20.0, send_s=20.0)


def linked(stack: ExitStack, limits: LinkLimits = PATIENT, host: str = "127.0.0.1") -> tuple[Sender, Receiver]:
    """Both ends of a link, made on one thread: nobody has to wait for the other's reply before giving his own."""
    listener = Listener(host, PLACE, limits)
    stack.callback(listener.close)
    sender = Sender(listener.address, PLACE, limits)
    stack.callback(sender.close)
    receiver = listener.accept()
    stack.callback(receiver.close)
    sender.confirm()
    return sender, receiver


def greet(connection: socket.socket, place: Place) -> bytes:
    """Says all that a sender for this place says, on a plain connection that is listened to, and takes the reply.
    Returns what was said."""
    greeting = place.greeting()
    connection.sendall(greeting)
    hello = place.hello(read(connection, CHALLENGE_BYTES), greeting)
    connection.sendall(hello[len(greeting) :])
    read(connection, REPLY_BYTES)
    return hello


def read(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer where it ends."""
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def send(sender: Sender, message: Message) -> None:
    sender.send(sender.pack(message))
