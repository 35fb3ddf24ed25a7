from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.errors import LoadTestError
from loadtest.scenario import Closed, Open, Requests, Scenario, load_scenario
from loadtest.search import MOST_TRIES, Tried, at_rate, best, next_rate, search


@given(st.floats(0.05, 500), st.floats(0.1, 200), st.floats(0.02, 0.5))
def test_the_capacity_is_found_to_the_precision(capacity: float, first: float, precision: float) -> None:
    tried = search(first, precision, lambda rate: rate <= capacity)
    found = best(tried)
    assert found is not None
    assert found <= capacity <= found * (1 + precision)
    assert len(tried) < MOST_TRIES


def test_a_server_that_keeps_nothing_ends_the_search() -> None:
    tried = search(4, 0.1, lambda rate: False)
    assert len(tried) == MOST_TRIES
    assert best(tried) is None


def test_a_rate_at_which_nothing_would_be_sent_is_not_tried() -> None:
    tried = search(4, 0.1, lambda rate: False, lowest=0.2)
    assert [one.rate for one in tried] == [4, 2, 1, 0.5, 0.25]


def test_luck_above_a_failure_does_not_count() -> None:
    tried = [Tried(1, True), Tried(2, True), Tried(4, True), Tried(3, False)]
    assert best(tried) == 2
    following = next_rate(tried, 1, 0.1)
    assert following is not None
    assert 2 < following < 3


def test_a_rate_is_put_into_an_open_loop_alone() -> None:
    requests = (Requests(kind="chat", model="m"),)
    given_open = Scenario(name="s", requests=requests, load=Open(arrivals="poisson", rate=1))
    changed = at_rate(given_open, 7, 3)
    assert isinstance(changed.load, Open)
    assert (changed.load.rate, changed.seed) == (7, 3)
    with pytest.raises(LoadTestError, match="one `rate`"):
        at_rate(Scenario(name="s", requests=requests, load=Closed(users=2)), 7, 1)
    with pytest.raises(LoadTestError, match="one `rate`"):
        at_rate(load_scenario(Path("step")), 7, 1)
