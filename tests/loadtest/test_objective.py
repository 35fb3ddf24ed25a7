from __future__ import annotations

import numpy as np
import pytest

from loadtest.objective import judge
from loadtest.record import Record
from loadtest.scenario import Objective, Percentiles
from loadtest.summary import Summary, summarize
from tests.loadtest.test_summary import RUN, SCENARIO


def summary(objective: Objective, records: list[Record] = RUN) -> Summary:
    return summarize(records, SCENARIO.model_copy(update={"objective": objective}))


def words(objective: Objective, records: list[Record] = RUN) -> list[str]:
    return [promise.words for promise in judge(objective, summary(objective, records)).promises]


def test_each_promise_is_told() -> None:
    objective = Objective(
        ttft_ms=Percentiles(p50=100.5, p90=150),
        tpot_ms=Percentiles(p50=300),
        failed=0.5,
        within={"ttft_ms": 150, "e2e_ms": 5000},
        goodput=0.9,
    )
    verdict = judge(objective, summary(objective))
    assert [(one.what, one.limit, one.kept) for one in verdict.promises] == [
        ("TTFT p50", 100.5, True),
        ("TTFT p90", 150, False),
        ("TPOT p50", 300, True),
        ("requests that fail", 0.5, True),
        ("goodput (TTFT within 150 ms, E2E within 5000 ms)", 0.9, False),
    ]
    assert [one.value for one in verdict.promises] == pytest.approx([100, 180, 250, 1 / 3, 0.5])
    assert not verdict.kept
    assert verdict.promises[1].words.startswith("TTFT p90: 180 ms, at most 150 ms: not kept")
    assert verdict.promises[3].words == "requests that fail: 33.33%, at most 50.00%: kept"
    assert "50.00%, at least 90.00%: not kept" in verdict.promises[4].words


def test_all_kept_is_kept() -> None:
    objective = Objective(ttft_ms=Percentiles(p99=1000), failed=0.4)
    verdict = judge(objective, summary(objective))
    assert verdict.kept
    nothing = judge(Objective(), summary(Objective()))
    assert (nothing.kept, nothing.promises) == (True, ())


def test_the_limit_itself_is_kept() -> None:
    exact = summary(Objective()).overall.latencies["ttft"].p50.value
    assert judge(Objective(ttft_ms=Percentiles(p50=exact)), summary(Objective())).kept
    assert not judge(Objective(ttft_ms=Percentiles(p50=np.nextafter(exact, 0))), summary(Objective())).kept


def test_what_was_not_measured_is_not_kept() -> None:
    objective = Objective(tpot_ms=Percentiles(p99=1000), failed=1, goodput=0)
    texts_only = judge(objective, summary(objective, [RUN[5]]))
    assert [(one.kept, one.value) for one in texts_only.promises] == [(False, None), (True, 0), (True, 1)]
    assert "nothing was measured" in texts_only.promises[0].words
    nobody = judge(objective, summary(objective, []))
    assert [one.kept for one in nobody.promises] == [False, False, False]
    assert "no request was sent" in nobody.promises[1].words


def test_doubts_are_told() -> None:
    sample = [
        Record(number, "classify", "c", 11.0, 11.0, end_s=11.0 + 0.1 * (number % 10 + 1)) for number in range(1000)
    ]

    def told(objective: Objective, records: list[Record] = sample) -> str:
        return words(objective, records)[0].partition("ms: ")[2]

    over, under = "kept (not for certain: the interval goes up to {} ms)", "the interval goes down to {} ms)"
    assert told(Objective(e2e_ms=Percentiles(p90=950))) == over.format(1000)
    assert told(Objective(e2e_ms=Percentiles(p99=1001))) == "kept"
    assert told(Objective(e2e_ms=Percentiles(p99=2000)), sample[:10]) == "kept (too few requests to be certain of it)"
    assert told(Objective(e2e_ms=Percentiles(p50=540))) == "not kept (not for certain: " + under.format(500)
