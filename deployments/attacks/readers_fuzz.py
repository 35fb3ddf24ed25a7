"""Damage as Hypothesis draws it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.attacks.damage import Reader

_VALUES = st.sampled_from(
    [b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 8, b"\x00" * 8, b"[[", b"-1", b"1e999", b"{}"]
)
_CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), _VALUES | st.binary(max_size=6)), max_size=6)


def damage(seed: bytes, changes: Sequence[tuple[int, bytes]], end: int) -> bytes:
    """`seed` with other bytes at some places, ended early where `end` says so."""
    content = bytearray(seed)
    for at, new in changes:
        start = at % (len(content) + 1)
        content[start : start + len(new)] = new
    return bytes(content[: end % (len(content) + 1)] if end else content)


def damaged(reader: Reader, examples: int) -> None:
    """Raises what the reader raises, where that is none of our own errors."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(_CHANGES, st.just(0) | st.integers(0, 1 << 16))
    def read(changes: list[tuple[int, bytes]], end: int) -> None:
        reader.read(damage(reader.seed, changes, end))

    read()
