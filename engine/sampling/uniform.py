"""Random numbers that depend on (seed, position) and on nothing else: no generator, no state, no order of calls."""

from __future__ import annotations

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio: positions end up far apart before mixing


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits. Seeds are taken modulo 2**64; negative ones are fine.

    The seed is mixed on its own first, so that neighbouring seeds do not give shifted copies of one sequence.
    """
    return (_mix(_mix(seed & _MASK) + (position + 1) * _STEP) >> 11) * 2.0**-53


def _mix(value: int) -> int:
    """The finalizer of SplitMix64: every bit of the input reaches every bit of the output."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
