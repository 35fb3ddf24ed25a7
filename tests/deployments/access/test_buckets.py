from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from deployments.access.buckets import Bucket, full_in_s, give, level, take

LIMITS = st.integers(1, 10_000)
SECONDS = st.floats(0, 200, allow_nan=False)
AMOUNTS = st.integers(1, 20_000)


def test_a_minute_at_once_and_then_evenly() -> None:
    bucket = Bucket(math.inf, 0)
    for _ in range(60):
        bucket, wait_s = take(bucket, 60, 1, 5)
        assert wait_s == 0
    bucket, wait_s = take(bucket, 60, 1, 5)
    assert wait_s == 1
    assert full_in_s(level(bucket, 60, 5), 60) == 60
    assert level(bucket, 60, 6.5) == 1.5


def test_what_is_larger_than_the_bucket_leaves_a_debt() -> None:
    bucket, wait_s = take(Bucket(math.inf, 0), 100, 250, 0)
    assert (wait_s, level(bucket, 100, 0)) == (0, -150)
    assert take(bucket, 100, 1, 0)[1] == 151 * 0.6
    assert take(bucket, 100, 500, 0)[1] == 250 * 0.6  # until it is full again


def test_a_limit_may_change() -> None:
    bucket = take(Bucket(math.inf, 0), 100, 10, 0)[0]
    assert level(bucket, 20, 0) == 20
    assert level(bucket, 1000, 0) == 90
    assert level(bucket, 1000, 60) == 1000


@given(LIMITS, st.lists(st.tuples(SECONDS, AMOUNTS), min_size=1, max_size=60))
def test_never_more_than_the_limit_allows(limit: int, asked: list[tuple[float, int]]) -> None:
    """In any stretch of time, at most a bucket, what flows in meanwhile, and the last one's excess."""
    bucket, now = Bucket(math.inf, 0), 0.0
    given_out: list[tuple[float, int]] = []
    for pause, amount in asked:
        now += pause
        after, wait_s = take(bucket, limit, amount, now)
        if wait_s:
            assert after is bucket
        else:
            given_out.append((now, amount))
        bucket = after
    for first in range(len(given_out)):
        since = given_out[first][0]
        total = 0
        for at, amount in given_out[first:]:
            room = limit + (at - since) * limit / 60 - total
            assert min(amount, limit) <= room + 1e-6 * limit
            total += amount


@given(LIMITS, AMOUNTS, st.floats(0, 1, exclude_max=True), SECONDS)
def test_whoever_waits_as_told_gets_it(limit: int, amount: int, left: float, now: float) -> None:
    bucket, wait_s = take(Bucket(left * limit, now), limit, amount, now)
    if wait_s:
        assert take(bucket, limit, amount, now + wait_s * 0.9)[1] > 0
        assert take(bucket, limit, amount, now + wait_s)[1] == 0


@given(LIMITS, st.integers(0, 20_000), st.integers(0, 20_000), SECONDS)
def test_corrections(limit: int, reserved: int, used: int, pause: float) -> None:
    """Taking too much and giving it back comes to the same as taking what was used, as long as it does not overflow."""
    bucket = Bucket(-1.0 * limit, 0)
    corrected = give(Bucket(bucket.level - reserved, 0), limit, reserved - used, 0)
    assert math.isclose(
        level(corrected, limit, pause), level(Bucket(bucket.level - used, 0), limit, pause), abs_tol=1e-6
    )
    assert level(give(bucket, limit, 10 * limit, pause), limit, pause) == limit
    assert full_in_s(level(bucket, limit, 120), limit) == 0
