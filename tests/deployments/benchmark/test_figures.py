from __future__ import annotations

import pytest

from deployments.benchmark.figures import figures
from engine.errors import EngineFailed
from tests.deployments.benchmark.measured import record


def test_rates_are_of_all_answers_from_the_first_sent_to_the_last_that_came() -> None:
    found = figures([record(0, 1.0, 2.0), record(1, 1.5, 5.0), record(2, 3.0, 4.0, items=3)])
    assert found["seconds"] == 4.0
    assert found["tokens_per_s"] == 3 * 64 / 4.0
    assert found["items_per_s"] == 5 / 4.0
    assert (found["p50_ms"], found["mean_ms"]) == (1000, pytest.approx(5500 / 3))
    assert (found["requests"], found["failed"], found["output_tokens"]) == (3, 0, [64, 64])


def test_failed_requests_are_counted_and_nothing_else() -> None:
    found = figures([record(0, 0.0, 1.0), record(1, 0.0, 9.0, failure="timeout", output_tokens=0)])
    assert (found["requests"], found["failed"], found["failures"]) == (2, 1, ["timeout"])
    assert (found["seconds"], found["p99_ms"], found["output_tokens"]) == (1.0, 1000, [64, 64])


def test_where_nothing_was_answered_the_reason_is_told() -> None:
    with pytest.raises(EngineFailed, match="no model"):
        figures([record(0, 0.0, 1.0, failure="http", message="404: no model")])
    with pytest.raises(EngineFailed, match="no request was sent"):
        figures([])
