from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.intervals import Estimate
from loadtest.report.words import scenario_words, short, with_interval
from loadtest.scenario import Closed, Load, Open, Phase, Requests, Scenario
from tests.loadtest.synthetic import mixed


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0.00"), (3e-12, "0.00"), (0.004, "0.004"), (0.126, "0.13"), (9.994, "9.99"), (9.996, "10.0"), (99.94, "99.9"),
     (99.96, "100"), (1234.5, "1234"), (-12.34, "-12.3")],
)  # fmt: skip
def test_numbers(value: float, expected: str) -> None:
    assert short(value) == expected


def test_intervals() -> None:
    assert with_interval(Estimate(12.0, 11.0, 130.0)) == "12.0 [11.0, 130]"
    assert with_interval(Estimate(12.0, 11.0, None)) == "12.0 [11.0, –]"


def test_a_scenario_in_words() -> None:
    assert scenario_words(mixed()) == [
        "chat by smollm2, streamed: prompts of 16 to 128 tokens, exactly 48 out (67% of the requests).",
        "classify by intents: 4 texts in a request (33% of the requests).",
        "Open loop, whatever the answers take: Poisson arrivals, 3/s for 40 s, 9 to 12/s for 40 s, 3/s for 30 s.",
        "10 s of warm-up, which is no part of the figures, then 100 s. A request has 120 s. Seed 0.",
    ]


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (Closed(users=1), "Closed loop: 1 user, who asks again when the answer has come."),
        (Closed(users=4, think_s=0.5, requests=100),
         "Closed loop: 4 users, each of whom asks again 0.5 s after the answer, 100 requests at most."),
        (Open(arrivals="gamma", rate=2.5, burstiness=0.25),
         "Open loop, whatever the answers take: gamma arrivals (burstiness 0.25), 2.5 requests/s."),
        (Open(arrivals="constant", phases=(Phase(seconds=60, rate=0),)),
         "Open loop, whatever the answers take: arrivals at even distances, 0/s for 60 s."),
        (Open(arrivals="trace", trace=Path("/somewhere/day.jsonl")),
         "Open loop, whatever the answers take: arrivals as in day.jsonl."),
    ],
)  # fmt: skip
def test_loads_in_words(load: Load, expected: str) -> None:
    one = Requests(kind="translate", model="en-de", batch=1)
    other = Requests(kind="completions", model="m", stream=False, exact=False)
    told = scenario_words(Scenario(name="s", requests=(one,), load=load, warm_up_s=0))
    assert told == ["translate by en-de from en to de: 1 text in a request.", expected,
                    "60 s. A request has 120 s. Seed 0."]  # fmt: skip
    assert scenario_words(Scenario(name="s", requests=(other,), load=load, warm_up_s=0))[0] == (
        "completions by m, in one piece: prompts of 32 tokens, at most 64 out."
    )
