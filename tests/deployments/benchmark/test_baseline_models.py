"""How the baseline finds its number of threads; no model is loaded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from deployments.benchmark import baseline_models
from deployments.benchmark.baseline_models import counts, fastest, use_threads


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_powers_of_two_and_the_most_are_tried() -> None:
    assert [counts(most) for most in (1, 2, 3, 6, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 6], [1, 2, 4, 8]]


@pytest.mark.parametrize(("seconds", "best"), [({1: 3.0, 2: 2.0, 4: 2.5}, 2), ({1: 1.0, 2: 1.0, 4: 9.0}, 1)])
def test_the_fastest_number_is_taken_however_slow_one_try_was(seconds: dict[int, float], best: int) -> None:
    now, tried = [0.0], [0]

    def work() -> None:
        tried[0] += 1
        now[0] += seconds[torch.get_num_threads()] + (100.0 if tried[0] == 2 else 0.0)

    assert fastest(work, list(seconds), lambda: now[0]) == best


def test_a_number_that_is_given_is_not_questioned(monkeypatch: pytest.MonkeyPatch) -> None:
    use_threads(3, 8, lambda: pytest.fail("nothing is to be tried"))
    assert torch.get_num_threads() == 3
    monkeypatch.setattr(baseline_models, "fastest", lambda work, counts: counts[-1])
    use_threads(0, 2, lambda: None)
    assert torch.get_num_threads() == 2
