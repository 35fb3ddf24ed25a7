"""Which texts make a batch, and when to wait for more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.encoder.batching import PATIENCE_S, batch_size, patience

SIZES = st.lists(st.integers(1, 50), max_size=30)


@given(sizes=SIZES, max_tokens=st.integers(1, 120), max_texts=st.integers(1, 12))
def test_a_batch_is_as_large_as_the_limits_allow(sizes: list[int], max_tokens: int, max_texts: int) -> None:
    count = batch_size(sizes, max_tokens, max_texts)
    assert count <= max_texts
    assert (count > 0) == bool(sizes)
    assert sum(sizes[:count]) <= max_tokens or count == 1
    if count < min(len(sizes), max_texts):  # the next one did not fit
        assert sum(sizes[: count + 1]) > max_tokens


def test_a_text_over_the_limit_runs_alone() -> None:
    assert batch_size([90, 1, 1], max_tokens=10, max_texts=8) == 1
    assert batch_size([1, 90, 1], max_tokens=10, max_texts=8) == 1
    assert batch_size([4, 5, 1], max_tokens=10, max_texts=8) == 3


@given(st.integers(0, 20), st.booleans(), st.integers(0, 20), st.floats(0, 1))
def test_nobody_waits_longer_than_the_patience(queued: int, full: bool, last: int, since_s: float) -> None:
    assert 0 <= patience(queued, full, last, since_s) <= PATIENCE_S
    assert patience(queued, full, last, PATIENCE_S + since_s) == 0


def test_only_a_busy_engine_waits() -> None:
    assert patience(1, full=False, last_batch=16, since_last_s=0.0005) > 0
    assert patience(1, full=False, last_batch=1, since_last_s=0.0) == 0  # one caller who asks again and again
    assert patience(16, full=False, last_batch=16, since_last_s=0.0) == 0  # all are back
    assert patience(1, full=True, last_batch=16, since_last_s=0.0) == 0
