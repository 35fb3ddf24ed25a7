from __future__ import annotations

import pytest

from deployments.attacks.soak_judge import Sample, growth, growths, judge, rates
from deployments.attacks.soak_load import Ended, How, how_of


def samples(values: list[int], every_s: float = 10.0, name: str = "a:1") -> list[Sample]:
    return [Sample(every_s * at, {name: mib}, {name: 1}, 0.0) for at, mib in enumerate(values)]


def answered(times: list[float], how: How = "answered") -> list[Ended]:
    return [Ended(at, "text-generation", how, 1, "words") for at in times]


def test_growth_is_that_of_the_line_through_all_samples() -> None:
    assert growth(samples([100, 110, 120, 130]), "a:1") == pytest.approx(30)
    assert growth(samples([100, 100, 160, 100, 100]), "a:1") == pytest.approx(0)
    assert growth(samples([100]), "a:1") == 0


def test_warming_up_does_not_count_and_what_lived_shorter_neither() -> None:
    warm = samples([0, 0, 0, 0, 500, 500, 500, 500, 500, 500])
    assert growths(warm, 100.0)["a:1"][0] == pytest.approx(0)
    mixed = [*samples([100] * 6), Sample(60, {"b:2": 1}, {}, 0), Sample(70, {"b:2": 1}, {}, 0)]
    assert growths(mixed, 80.0) == {}


def test_a_leak_a_lost_request_and_a_slowdown_are_faults() -> None:
    steady = [at / 2 for at in range(2000)]
    flat, leaking = samples([500] * 100), samples([500 + 3 * at for at in range(100)])
    assert judge(flat, answered(steady), 0.0, 1000.0)[1] == []
    assert "grew by" in judge(leaking, answered(steady), 0.0, 1000.0)[1][0]
    lost = judge(flat, [*answered(steady), *answered([3.0], "lost")], 0.0, 1000.0)[1]
    assert lost == ["1 requests were lost, the first: text-generation: words"]
    slow = [at for at in steady if at < 900 or at % 4 == 0]
    assert "at the end" in judge(flat, answered(slow), 0.0, 1000.0)[1][0]
    assert "nothing was answered" in judge(flat, [], 0.0, 1000.0)[1]


def test_rates_leave_out_the_cold_tenth() -> None:
    first, last = rates(answered([1.0, 2.0, *[10 + at / 10 for at in range(50)], 95.0, 96.0]), 0.0, 100.0)
    assert (first, last) == (5.0, 0.2)


@pytest.mark.parametrize(
    ("status", "how"), [(200, "answered"), (429, "turned away"), (503, "turned away"), (500, "lost"), (400, "lost")]
)
def test_a_full_queue_is_an_answer(status: int, how: How) -> None:
    assert how_of(status) == how
