"""Both ends of a link, in one process."""

from __future__ import annotations

from contextlib import ExitStack

from cluster.pipeline.handshake import Membership, Place
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


def send(sender: Sender, message: Message) -> None:
    sender.send(sender.pack(message))
