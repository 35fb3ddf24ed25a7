from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.pipeline.handshake import (
    CHALLENGE_BYTES,
    GREETING_BYTES,
    HELLO_BYTES,
    REPLY_BYTES,
    Membership,
    Place,
    new_challenge,
)

MEMBERSHIP = Membership(b"n" * 16, b"s" * 32)
PLACE = Place(MEMBERSHIP, epoch=3, link=1)
CHALLENGE = new_challenge()
HELLO = PLACE.hello(CHALLENGE, PLACE.greeting())


def test_those_who_know_the_pipeline_agree() -> None:
    other = Place(Membership(b"n" * 16, b"s" * 32), 3, 1)
    greeting = other.greeting()
    hello = other.hello(CHALLENGE, greeting)
    assert hello.startswith(greeting)
    assert PLACE.refusal(CHALLENGE, hello) is None
    reply = PLACE.reply(CHALLENGE, hello)
    assert other.replied(CHALLENGE, hello, reply)
    assert [len(part) for part in (greeting, CHALLENGE, hello, reply)] == [
        GREETING_BYTES,
        CHALLENGE_BYTES,
        HELLO_BYTES,
        REPLY_BYTES,
    ]


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
    assert why in str(PLACE.refusal(CHALLENGE, other.hello(CHALLENGE, other.greeting())))


def test_who_has_another_secret_proves_nothing_by_a_reply() -> None:
    other = replace(PLACE, membership=replace(MEMBERSHIP, secret=b"t" * 32))
    assert not PLACE.replied(CHALLENGE, HELLO, other.reply(CHALLENGE, HELLO))


def test_another_place_cannot_be_proved_by_changing_the_words() -> None:
    other = replace(PLACE, epoch=2)
    hello = other.hello(CHALLENGE, other.greeting())
    words = HELLO[: GREETING_BYTES - 32]
    assert "does not know this pipeline" in str(PLACE.refusal(CHALLENGE, words + hello[len(words) :]))


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (b"GET / HTTP/1.1".ljust(HELLO_BYTES), "another protocol"),
        (HELLO[:4] + b"\x00\x09" + HELLO[6:], "version 9, not 2"),
        (HELLO[:-1] + bytes([HELLO[-1] ^ 1]), "does not know this pipeline"),
    ],
)
def test_what_is_no_hello_is_refused(hello: bytes, why: str) -> None:
    assert why in str(PLACE.refusal(CHALLENGE, hello))


def test_a_proof_is_of_one_connection() -> None:
    """Both ends have a part in what is proved, so that neither takes what it or the other was told before."""
    assert PLACE.greeting() != PLACE.greeting()
    assert new_challenge() != new_challenge()
    assert "does not know this pipeline" in str(PLACE.refusal(new_challenge(), HELLO))
    reply = PLACE.reply(CHALLENGE, HELLO)
    assert not PLACE.replied(CHALLENGE, PLACE.hello(CHALLENGE, PLACE.greeting()), reply)
    assert not PLACE.replied(new_challenge(), HELLO, reply)


def test_the_secret_is_neither_sent_nor_shown() -> None:
    membership = Membership.new()
    place = Place(membership, 1, 0)
    hello = place.hello(CHALLENGE, place.greeting())
    assert membership.secret not in hello + place.reply(CHALLENGE, hello)
    assert "secret" not in repr(place)
    assert Membership.new() != membership


def test_a_hello_proves_nothing_as_a_reply() -> None:
    assert not PLACE.replied(CHALLENGE, HELLO, HELLO[-REPLY_BYTES:])
