from __future__ import annotations

import json

import pytest

from loadtest.record import Record
from loadtest.scenario import Closed, Objective, Open, Phase, Scenario
from loadtest.summary import summarize
from loadtest.vllm_keys import vllm_details, vllm_result
from tests.loadtest.synthetic import mixed, records
from tests.loadtest.test_summary import RUN, SCENARIO

NAMES = """date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness max_concurrency
    duration completed failed total_input_tokens total_output_tokens request_throughput request_goodput
    output_throughput total_token_throughput max_output_tokens_per_s max_concurrent_requests"""
LATENCIES = [
    f"{figure}_{name}_ms"
    for figure in ("mean", "median", "std", "p50", "p90", "p95", "p99")
    for name in ("ttft", "tpot", "itl", "e2el")
]
DETAILS = "input_lens output_lens ttfts itls start_times generated_texts errors"


def test_all_keys_are_there() -> None:
    summary = summarize(records(), mixed())
    found = vllm_result(summary, mixed(), 0.0)
    assert set(found) == {*NAMES.split(), *LATENCIES}
    assert set(found) == set(vllm_result(summarize([], mixed()), mixed(), 0.0)), "also when nothing was measured"
    details = vllm_details(records(), summary)
    assert set(DETAILS.split()) <= set(details)
    assert {len(values) for values in details.values()} == {summary.overall.sent}
    json.dumps({**found, **details}, allow_nan=False)


def test_figures_are_those_of_the_window() -> None:
    found = vllm_result(summarize(RUN, SCENARIO), SCENARIO, 1_780_000_000.0)
    duration = 19.55 + 2.1 + 0.01 - 10
    expected = {
        "date": "20260528-202640", "backend": "openai-chat,classify", "label": "hand", "model_id": "m,c",
        "num_prompts": 6, "request_rate": 1, "burstiness": "inf", "max_concurrency": None, "completed": 4, "failed": 2,
        "total_input_tokens": 70, "total_output_tokens": 17,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    rates = {
        "duration": duration, "request_throughput": 4 / duration, "request_goodput": 3 / duration,
        "output_throughput": 17 / duration, "total_token_throughput": 87 / duration,
        "mean_ttft_ms": 400 / 3, "median_ttft_ms": 100, "p90_ttft_ms": 180, "median_itl_ms": 1000,
    }  # fmt: skip
    assert {name: found[name] for name in rates} == pytest.approx(rates)


def scenario(load: Closed | Open) -> Scenario:
    return SCENARIO.model_copy(update={"load": load, "objective": Objective()})


@pytest.mark.parametrize(
    ("load", "rate", "burstiness", "users"),
    [
        (Open(arrivals="gamma", rate=3, burstiness=0.5), 3, 0.5, None),
        (Open(arrivals="poisson", phases=(Phase(seconds=20, rate=2),)), 0.6, 1.0, None),
        (Open(arrivals="constant", rate=3), 3, "inf", None),
        (Closed(users=4), "inf", 1.0, 4),
    ],
)
def test_how_load_is_named(load: Closed | Open, rate: float | str, burstiness: float | str, users: int | None) -> None:
    found = vllm_result(summarize(RUN, scenario(load)), scenario(load), 0.0)
    assert (found["request_rate"], found["burstiness"], found["max_concurrency"]) == (rate, burstiness, users)
    assert found["request_goodput"] is None, "nothing was promised"


def test_details() -> None:
    failed = Record(9, "chat", "m", 11.0, 11.0, status=503, failure="503", message="busy", gaps_s=[0.1])
    details = vllm_details([RUN[1], failed], summarize([RUN[1], failed], SCENARIO))
    assert details["output_lens"] == [6, 0]
    assert details["ttfts"] == [pytest.approx(0.1), 0.0]
    assert details["itls"] == [[0.5, 0.5], []]
    assert details["start_times"] == [10.05, 11.0]
    assert details["errors"] == ["", "503: busy"]
