"""How a replica and the front door make sure of each other: both prove that they know the replica's secret, which Ray
told the front door. What is proved is of this connection alone, so that nobody can say it again."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

NONCE_BYTES = 32
_PROOF_BYTES = 32
LONGEST = NONCE_BYTES + _PROOF_BYTES  # bytes of a frame's payload until then
SECONDS = 5.0  # for all of it


@dataclass(frozen=True, slots=True)
class Doorway:
    """Where a replica listens, and what it wants to be shown."""

    replica: str
    host: str
    port: int
    secret: bytes = field(repr=False)


def nonce() -> bytes:
    return secrets.token_bytes(NONCE_BYTES)


def caller_proof(secret: bytes, challenge: bytes, own_nonce: bytes) -> bytes:
    """What the caller answers the replica's challenge with."""
    return own_nonce + hmac.digest(secret, b"caller" + challenge + own_nonce, "sha256")


def caller_is_known(secret: bytes, challenge: bytes, proof: bytes) -> bool:
    return hmac.compare_digest(proof, caller_proof(secret, challenge, proof[:NONCE_BYTES]))


def replica_proof(secret: bytes, caller_nonce: bytes) -> bytes:
    """What the replica then answers."""
    return hmac.digest(secret, b"replica" + caller_nonce, "sha256")


def replica_is_known(secret: bytes, caller_nonce: bytes, proof: bytes) -> bool:
    return hmac.compare_digest(proof, replica_proof(secret, caller_nonce))
