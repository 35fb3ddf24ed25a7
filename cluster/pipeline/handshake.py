"""How two ends of a link make sure of each other: who starts the link says for which pipeline, epoch and place it is,
with a proof that it knows the pipeline's secret; the other end answers with a proof of its own. The secret stays home.

A proof cannot be used twice: each place of each epoch is listened for once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass, field

VERSION = 1
SECRET_BYTES = 32
_NAME_BYTES = 16
_HELLO = struct.Struct(f"!4sH{_NAME_BYTES}sQI")
_MAGIC = b"SLHI"
_PROOF_BYTES = hashlib.sha256().digest_size

HELLO_BYTES = _HELLO.size + _PROOF_BYTES
REPLY_BYTES = _PROOF_BYTES


@dataclass(frozen=True, slots=True)
class Membership:
    """What all processes of one pipeline know, told through Ray: its name and its secret."""

    name: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> Membership:
        return cls(secrets.token_bytes(_NAME_BYTES), secrets.token_bytes(SECRET_BYTES))


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a link: the `link`-th of the ring, as it is linked in this epoch."""

    membership: Membership
    epoch: int
    link: int

    def hello(self) -> bytes:
        """What the end that connects sends first, `HELLO_BYTES` long."""
        words = _HELLO.pack(_MAGIC, VERSION, self.membership.name, self.epoch, self.link)
        return words + self._proof(b"hello", words)

    def reply(self) -> bytes:
        """What the listening end answers, `REPLY_BYTES` long."""
        return self._proof(b"reply", self.hello())

    def refusal(self, hello: bytes) -> str | None:
        """Why this is not the hello that is waited for, or None."""
        if hmac.compare_digest(hello, self.hello()):
            return None
        magic, version, name, epoch, link = _HELLO.unpack_from(hello)
        if magic != _MAGIC:
            return "it speaks another protocol"
        if version != VERSION:
            return f"it speaks version {version}, not {VERSION}"
        words = hello[: _HELLO.size]
        if name != self.membership.name or not hmac.compare_digest(hello[_HELLO.size :], self._proof(b"hello", words)):
            return "it does not know this pipeline"
        return f"it is for link {link} of epoch {epoch}, not link {self.link} of epoch {self.epoch}"

    def replied(self, reply: bytes) -> bool:
        """Whether the other end has proved itself."""
        return hmac.compare_digest(reply, self.reply())

    def _proof(self, purpose: bytes, words: bytes) -> bytes:
        return hmac.digest(self.membership.secret, purpose + words, "sha256")
