"""Token buckets: what may be used in a minute, how it comes back, and when there is enough. Pure.

A bucket holds at most one minute's allowance and fills evenly. What is taken may be corrected later: a bucket goes
below zero where a request used more than it had reserved, and the debt is paid before anything else is given out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bucket:
    """`level` is what was left at `at_s`, in seconds of a clock that never goes back."""

    level: float
    at_s: float


def level(bucket: Bucket, per_minute: float, now_s: float) -> float:
    """What is left now: at most `per_minute`."""
    return min(per_minute, bucket.level + max(0.0, now_s - bucket.at_s) * per_minute / 60)


def take(bucket: Bucket, per_minute: float, amount: float, now_s: float) -> tuple[Bucket, float]:
    """The bucket without `amount`, and 0; or, where there is not so much, the bucket as it was and in how many seconds
    to ask again.

    What is larger than a whole bucket is given by a full one, which is in debt then. So nobody is refused for ever, and
    still nobody gets more than `per_minute` in the long run.
    """
    left = level(bucket, per_minute, now_s)
    missing = min(amount, per_minute) - left
    if missing > _GRAIN * per_minute:
        return bucket, missing * 60 / per_minute
    return Bucket(left - amount, now_s), 0.0


def give(bucket: Bucket, per_minute: float, amount: float, now_s: float) -> Bucket:
    """The bucket with so much back; with a negative `amount`, that much less."""
    return Bucket(min(per_minute, level(bucket, per_minute, now_s) + amount), now_s)


def full_in_s(left: float, per_minute: float) -> float:
    """Seconds until a bucket with so much left is full again if nothing is taken."""
    return (per_minute - left) * 60 / per_minute


_GRAIN = 1e-9  # who waits exactly as long as told is not refused for a rounding error
