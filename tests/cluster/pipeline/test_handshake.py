from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.pipeline.handshake import HELLO_BYTES, REPLY_BYTES, Membership, Place

MEMBERSHIP = Membership(b"n" * 16, b"s" * 32)
PLACE = Place(MEMBERSHIP, epoch=3, link=1)


def test_those_who_know_the_pipeline_agree() -> None:
    other = Place(Membership(b"n" * 16, b"s" * 32), 3, 1)
    assert (len(PLACE.hello()), len(PLACE.reply())) == (HELLO_BYTES, REPLY_BYTES)
    assert PLACE.refusal(other.hello()) is None
    assert PLACE.replied(other.reply())


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (replace(PLACE, epoch=2), "link 1 of epoch 2, not link 1 of epoch 3"),
        (replace(PLACE, link=2), "link 2 of epoch 3, not link 1"),
        (Place(replace(MEMBERSHIP, secret=b"t" * 32), 3, 1), "does not know this pipeline"),
        (Place(replace(MEMBERSHIP, name=b"m" * 16), 3, 1), "does not know this pipeline"),
    ],
)
def test_others_are_refused(other: Place, why: str) -> None:
    assert why in str(PLACE.refusal(other.hello()))
    assert not PLACE.replied(other.reply())


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (b"GET / HTTP/1.1".ljust(HELLO_BYTES), "another protocol"),
        (PLACE.hello()[:4] + b"\x00\x09" + PLACE.hello()[6:], "version 9, not 1"),
        (PLACE.hello()[:-1] + b"?", "does not know this pipeline"),
    ],
)
def test_what_is_no_hello_is_refused(hello: bytes, why: str) -> None:
    assert why in str(PLACE.refusal(hello))


def test_the_secret_is_neither_sent_nor_shown() -> None:
    membership = Membership.new()
    place = Place(membership, 1, 0)
    assert membership.secret not in place.hello() + place.reply()
    assert "secret" not in repr(place)
    assert Membership.new() != membership


def test_a_hello_proves_nothing_as_a_reply() -> None:
    assert not PLACE.replied(PLACE.hello()[-REPLY_BYTES:])
