"""How two ends of a link make sure of each other: both prove that they know the pipeline's secret, which stays home.

Who starts the link greets: it says for which pipeline, epoch and place it is, with random bytes of its own. Who listens
sends a challenge, also random. The proofs of both, first the one who started, are of that challenge and that greeting.

A proof cannot be used twice: neither end takes one that is not of its own random bytes, which are new each time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass, field

VERSION = 2
SECRET_BYTES = 32
_NAME_BYTES, _NONCE_BYTES = 16, 32
_WORDS = struct.Struct(f"!4sH{_NAME_BYTES}sQI")
_MAGIC = b"SLHI"
_PROOF_BYTES = hashlib.sha256().digest_size

GREETING_BYTES = _WORDS.size + _NONCE_BYTES
CHALLENGE_BYTES = _NONCE_BYTES
HELLO_BYTES = GREETING_BYTES + _PROOF_BYTES
REPLY_BYTES = _PROOF_BYTES


@dataclass(frozen=True, slots=True)
class Membership:
    """What all processes of one pipeline know, told through Ray: its name and its secret."""

    name: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> Membership:
        return cls(secrets.token_bytes(_NAME_BYTES), secrets.token_bytes(SECRET_BYTES))


def new_challenge() -> bytes:
    """What the listening end sends first, `CHALLENGE_BYTES` long; never the same twice."""
    return secrets.token_bytes(CHALLENGE_BYTES)


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a link: the `link`-th of the ring, as it is linked in this epoch."""

    membership: Membership
    epoch: int
    link: int

    def greeting(self) -> bytes:
        """What the end that connects sends first, `GREETING_BYTES` long; never the same twice."""
        words = _WORDS.pack(_MAGIC, VERSION, self.membership.name, self.epoch, self.link)
        return words + secrets.token_bytes(_NONCE_BYTES)

    def hello(self, challenge: bytes, greeting: bytes) -> bytes:
        """All that the end that connects sends, `HELLO_BYTES` long: its greeting, and its proof behind it."""
        return greeting + self._proof(b"hello", challenge, greeting)

    def reply(self, challenge: bytes, hello: bytes) -> bytes:
        """What the listening end then answers, `REPLY_BYTES` long."""
        return self._proof(b"reply", challenge, hello[:GREETING_BYTES])

    def refusal(self, challenge: bytes, hello: bytes) -> str | None:
        """Why this is not the hello that is waited for, or None."""
        magic, version, name, epoch, link = _WORDS.unpack_from(hello)
        if magic != _MAGIC:
            return "it speaks another protocol"
        if version != VERSION:
            return f"it speaks version {version}, not {VERSION}"
        proven = hmac.compare_digest(hello, self.hello(challenge, hello[:GREETING_BYTES]))
        if name != self.membership.name or not proven:
            return "it does not know this pipeline"
        if (epoch, link) != (self.epoch, self.link):
            return f"it is for link {link} of epoch {epoch}, not link {self.link} of epoch {self.epoch}"
        return None

    def replied(self, challenge: bytes, hello: bytes, reply: bytes) -> bool:
        """Whether the other end has proved itself."""
        return hmac.compare_digest(reply, self.reply(challenge, hello))

    def _proof(self, purpose: bytes, challenge: bytes, greeting: bytes) -> bytes:
        return hmac.digest(self.membership.secret, purpose + challenge + greeting, "sha256")
