"""A run that is small enough to be computed by hand, and properties of those that are not."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.record import Record
from loadtest.scenario import Closed, Objective, Open, Requests, Scenario
from loadtest.summary import QUANTILES, Summary, distribution, summarize, window
from tests.loadtest.synthetic import mixed, records

SCENARIO = Scenario(
    name="hand",
    requests=(Requests(kind="chat", model="m"), Requests(kind="classify", model="c")),
    load=Open(arrivals="constant", rate=1),
    warm_up_s=10,
    duration_s=10,
    objective=Objective(within={"ttft_ms": 150, "tpot_ms": 600}),
)


def chat(number: int, at: float, first: float, gaps: list[float], tokens: int, variant: str = "a") -> Record:
    """Sent 50 ms late."""
    sent = at + 0.05
    last = sent + first + sum(gaps)
    return Record(
        number, "chat", "m", at, sent, sent, sent, sent + first, last, last + 0.01, gaps, 200, variant=variant,
        prompt_tokens=10, output_tokens=tokens,
    )  # fmt: skip


RUN = [
    chat(0, 9.0, 0.1, [2.0], 4),  # warm-up, but half of its tokens come in the window, and so does its end
    chat(1, 10.0, 0.1, [0.5, 0.5], 6),  # good
    chat(2, 12.0, 0.2, [1.0], 2, "b"),  # its first token is late
    replace(chat(3, 13.0, 0.1, [1.0], 0), failure="cut", variant=""),
    chat(4, 19.5, 0.1, [1.0, 1.0], 9),  # 3 of 9 tokens come in the window
    Record(5, "classify", "c", 14.0, 14.0, 14.2, None, 14.2, 14.2, 14.2, status=200, prompt_tokens=40, items=4),
    Record(6, "classify", "c", 15.0, failure="connection"),
    chat(7, 20.0, 0.1, [1.0], 2),  # after the window
]


@pytest.fixture(scope="module")
def summary() -> Summary:
    return summarize(RUN, SCENARIO)


def test_counts_are_of_what_should_have_been_sent_in_the_window(summary: Summary) -> None:
    overall = summary.overall
    assert (summary.from_s, summary.until_s, summary.warm_up) == (10, 20, 1)
    assert (overall.sent, overall.completed, overall.failed) == (6, 4, {"connection": 1, "cut": 1})
    assert overall.variants == {"a": 2, "b": 1}
    assert (overall.input_tokens, overall.output_tokens) == (10 * 3 + 40, 6 + 2 + 9)
    assert {kind: one.sent for kind, one in summary.kinds.items()} == {"chat": 4, "classify": 2}
    assert summary.kinds["classify"].failed == {"connection": 1}


def test_rates_are_of_what_arrived_in_the_window(summary: Summary) -> None:
    chats, texts = summary.kinds["chat"], summary.kinds["classify"]
    assert chats.output_tokens_per_s == pytest.approx((2 + 6 + 2 + 3) / 10)
    assert chats.total_tokens_per_s == pytest.approx((2 + 6 + 2 + 3) / 10 + 10 * 3 / 10)
    assert chats.requests_per_s == pytest.approx(3 / 10), "0, 1, 2; 4 ends after it"
    assert (chats.items_per_s, chats.offered_per_s) == (None, 0.4)
    assert (texts.items_per_s, texts.requests_per_s, texts.output_tokens_per_s) == (0.4, 0.1, 0)
    assert summary.overall.items_per_s == 0.4
    assert chats.tokens_per_event == pytest.approx((6 + 2 + 9) / (3 + 2 + 3))
    assert texts.tokens_per_event is None


def test_goodput_is_of_all_that_were_sent(summary: Summary) -> None:
    """Good are 1 and 4, and the classification that came."""
    assert summary.kinds["chat"].goodput is not None
    assert summary.kinds["chat"].goodput.value == 2 / 4
    assert summary.overall.goodput is not None
    assert summary.overall.goodput.value == 3 / 6
    assert summary.overall.goodput_per_s == pytest.approx(3 / 10)


def test_latencies_are_of_what_is_complete(summary: Summary) -> None:
    found = summary.kinds["chat"].latencies
    assert {name: one.count for name, one in found.items()} == {
        "ttft": 3, "ttft_chunk": 3, "ttft_scheduled": 3, "tpot": 3, "tpot_with_first": 3, "e2e": 3,
        "e2e_scheduled": 3, "itl": 5, "lag": 4,
    }  # fmt: skip
    assert (found["ttft"].p50.value, found["ttft"].max) == pytest.approx((100, 200))
    assert found["ttft"].mean.value == pytest.approx(400 / 3)
    assert found["ttft"].std == pytest.approx(np.std([100, 100, 200]))
    assert found["ttft"].p90.value == pytest.approx(180), "between the second and the third, as numpy does"
    assert found["ttft_scheduled"].p50.value == pytest.approx(150)
    assert found["tpot"].p50.value == pytest.approx(250), "200, 1000, 250"
    assert found["itl"].p50.value == pytest.approx(1000), "500, 500, 1000, 1000, 1000"
    assert found["lag"].mean.value == pytest.approx(50)
    assert set(summary.kinds["classify"].latencies) == {"e2e", "e2e_scheduled", "lag"}
    assert summary.overall.latencies["e2e"].count == 4


def test_peaks(summary: Summary) -> None:
    """From 13.05 s to 14.15 s the stream that was cut, from 14 s the classification."""
    assert summary.max_concurrent_requests == 2
    assert summary.max_output_tokens_per_s == pytest.approx(4), "10.15 s and 10.65 s"
    assert summary.duration_s == pytest.approx(19.55 + 2.1 + 0.01 - 10)


def test_nothing_is_nothing() -> None:
    empty = summarize([], SCENARIO)
    assert (empty.overall.sent, empty.overall.goodput, empty.overall.latencies, empty.kinds) == (0, None, {}, {})
    assert (empty.duration_s, empty.overall.output_tokens_per_s, empty.max_output_tokens_per_s) == (10, 0, 0)
    json.dumps(empty.as_json())


def test_users_who_have_asked_enough_end_the_window() -> None:
    closed = SCENARIO.model_copy(update={"load": Closed(users=1, requests=6)})
    assert window(RUN[:6], closed) == (10, 20), "they took longer than that"
    early = [replace(one, end_s=15.0) for one in RUN[:6]]
    assert window(early, closed) == (10, 15.000001), "the last answer is within"
    assert summarize(early, closed).overall.requests_per_s == pytest.approx(5 / 5)
    assert window(early[:5], closed) == (10, 20), "they were not done"
    assert window(early, SCENARIO) == (10, 20), "an open loop has an end of its own"


def test_a_trace_that_is_shorter_ends_the_window() -> None:
    traced = SCENARIO.model_copy(update={"load": Open(arrivals="trace", trace=Path("day.jsonl"))})
    assert window(RUN[:3], traced) == (10, 12.000001)
    assert summarize(RUN[:3], traced).overall.sent == 2
    assert window(RUN[:1], traced) == (10, 20), "nothing to measure"
    assert window(RUN, traced) == (10, 20)


def test_a_mix_is_the_sum_of_its_kinds() -> None:
    found = summarize(records(), mixed())
    kinds = found.kinds.values()
    assert set(found.kinds) == {"chat", "classify"}
    for name in ("sent", "completed", "output_tokens", "requests_per_s", "total_tokens_per_s", "goodput_per_s"):
        assert getattr(found.overall, name) == pytest.approx(sum(getattr(one, name) for one in kinds)), name
    assert found.overall.latencies["e2e"].count == sum(one.latencies["e2e"].count for one in kinds)


def test_figures_can_be_written_and_do_not_depend_on_the_order() -> None:
    shuffled = records()
    random.Random(1).shuffle(shuffled)
    one, other = summarize(records(), mixed()).as_json(), summarize(shuffled, mixed()).as_json()
    assert json.loads(json.dumps(one, allow_nan=False)) == one
    assert other["overall"]["latencies"]["ttft"]["p99"] == one["overall"]["latencies"]["ttft"]["p99"]
    assert other["overall"]["latencies"]["itl"]["p99"] == one["overall"]["latencies"]["itl"]["p99"]
    assert other["overall"]["output_tokens_per_s"] == pytest.approx(one["overall"]["output_tokens_per_s"])


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=400))
def test_percentiles_are_numpys_and_within_their_intervals(values: list[float]) -> None:
    found = distribution(np.array(values))
    assert found is not None
    assert found.max == max(values)
    for name, q in QUANTILES.items():
        estimate = getattr(found, name)
        assert estimate.value == pytest.approx(np.percentile(values, 100 * q))
        assert estimate.low is None or estimate.low <= estimate.value
        assert estimate.high is None or estimate.high >= estimate.value


def test_a_hundred_thousand_requests_are_summed_up() -> None:
    """The figures of many are those of the one of which they are copies."""
    many = [replace(RUN[1], number=number) for number in range(100_000)]
    found = summarize(many, SCENARIO).overall
    assert (found.sent, found.output_tokens) == (100_000, 600_000)
    assert found.latencies["itl"].count == 200_000
    ttft = found.latencies["ttft"]
    assert (ttft.p50.value, ttft.p99.low, ttft.p99.high) == pytest.approx((100, 100, 100))
