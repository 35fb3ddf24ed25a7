from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arrivals import at_rates, schedule, share
from loadtest.errors import LoadTestError
from loadtest.scenario import Open, Phase


def times(load: Open, total_s: float, seed: int = 0) -> list[float]:
    return [one.at_s for one in schedule(load, total_s, seed)]


def test_a_seed_has_one_schedule_and_another_has_another() -> None:
    load = Open(arrivals="poisson", rate=5)
    assert schedule(load, 60, 3) == schedule(load, 60, 3)
    assert schedule(load, 60, 3) != schedule(load, 60, 4)


@pytest.mark.parametrize(("burstiness", "spread"), [(1.0, 1.0), (0.25, 2.0), (4.0, 0.5)])
def test_gamma_has_the_mean_of_its_rate_and_the_spread_of_its_burstiness(burstiness: float, spread: float) -> None:
    gaps = np.diff(times(Open(arrivals="gamma", rate=10, burstiness=burstiness), 4000))
    assert gaps.mean() == pytest.approx(0.1, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(spread, rel=0.05)  # 1 / sqrt(shape)


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(times(Open(arrivals="poisson", rate=10), 4000))
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
    assert (gaps > 0.1).mean() == pytest.approx(np.exp(-1), abs=0.01)


def test_constant_arrivals_are_even() -> None:
    assert times(Open(arrivals="constant", rate=4), 1.6) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.25, 1.5])


def test_a_rate_that_rises_is_the_integral_of_itself() -> None:
    """From 0 to 10 a second over 10 s: t² / 2 requests by t."""
    load = Open(arrivals="constant", phases=(Phase(seconds=10, rate=0, to=10),))
    assert times(load, 11) == pytest.approx([np.sqrt(2 * n) for n in range(1, 50)])


def test_a_request_that_is_due_when_the_rate_is_still_0() -> None:
    load = Open(arrivals="constant", phases=(Phase(seconds=3, rate=1), Phase(seconds=4, rate=0, to=4)))
    assert times(load, 7)[:5] == pytest.approx([1, 2, 3, 3 + np.sqrt(2), 3 + 2])


def test_phases_follow_each_other_and_an_empty_one_has_nothing() -> None:
    load = Open(
        arrivals="poisson", phases=(Phase(seconds=50, rate=2), Phase(seconds=50, rate=0), Phase(seconds=50, rate=20))
    )
    counts = np.histogram(times(load, 150), bins=[0, 50, 100, 150])[0]
    assert counts[1] == 0
    assert counts[0] == pytest.approx(100, abs=40)
    assert counts[2] == pytest.approx(1000, abs=130)


@given(
    st.lists(st.tuples(st.floats(0.1, 20), st.floats(0, 30), st.floats(0, 30)), min_size=1, max_size=5),
    st.integers(1, 7),
    st.integers(0, 2**32),
)
def test_shares_are_the_whole_schedule_once_and_in_order(
    given_phases: list[tuple[float, float, float]], workers: int, seed: int
) -> None:
    phases = tuple(Phase(seconds=seconds, rate=rate, to=to) for seconds, rate, to in given_phases)
    total_s = sum(one.seconds for one in phases)
    arrivals = schedule(Open(arrivals="poisson", phases=phases), total_s, seed)
    at_s = [one.at_s for one in arrivals]
    assert at_s == sorted(at_s)
    assert all(0 <= one < total_s for one in at_s)
    shares = [share(arrivals, worker, workers) for worker in range(workers)]
    assert sorted(one.number for part in shares for one in part) == list(range(len(arrivals)))


def test_rates_end_with_the_phases() -> None:
    assert list(at_rates([Phase(seconds=2, rate=1)], iter([0.5, 1.0, 1.0, 1.0]))) == [0.5, 1.5]


def test_a_trace_is_read_in_order_and_cut_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    lines = [{"at_s": 2.0}, {"at_s": 0.5, "prompt_tokens": 7, "output_tokens": 9}, {"at_s": 99}]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    found = schedule(Open(arrivals="trace", trace=path), 10, 0)
    assert [(one.number, one.at_s, one.prompt_tokens, one.output_tokens) for one in found] == [
        (0, 0.5, 7, 9),
        (1, 2.0, None, None),
    ]


@pytest.mark.parametrize(
    "line", ["nonsense", "{}", '{"at_s": -1}', '{"at_s": "NaN"}', '{"at_s": 1, "prompt_tokens": 0}', "[1]"]
)
def test_a_trace_with_something_else_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"at_s": 1}\n' + line)
    with pytest.raises(LoadTestError, match=r"trace\.jsonl:2"):
        schedule(Open(arrivals="trace", trace=path), 10, 0)
