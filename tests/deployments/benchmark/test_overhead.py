"""What monitoring and access control cost, from a result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.access.keys import read_keys
from deployments.benchmark.everything_on import collector, everything_on
from deployments.benchmark.metrics_cost import metrics_cost
from deployments.benchmark.overhead import MEASURED
from deployments.benchmark.overhead_costs import complaints, costs
from deployments.benchmark.pages import page
from deployments.benchmark.ratios import Ratio
from deployments.benchmark.servers import configuration
from deployments.benchmark.short_turns import Had
from deployments.benchmark.stored import RESULT
from deployments.benchmark.works import SCENARIOS, WORKS, scenario_of
from deployments.cli.benchmark import OPTIMIZED_CONFIG
from deployments.settings import load_settings
from tests.deployments.benchmark.measured import ORIGIN

SECONDS, IDLE = 10.0, 0.25


def had(answer_s: float, failed: int = 0) -> dict[str, Any]:
    """A round of ten seconds, in thirty, with an answer every `answer_s`, which takes as long of a core."""
    answers = round(SECONDS / answer_s)
    elapsed_s = 3 * SECONDS
    return asdict(Had(answers, failed, SECONDS, elapsed_s, answers * answer_s + IDLE * elapsed_s))


def result(on: Sequence[float], failed: int = 0, **more: Any) -> dict[str, Any]:
    """With all of it off an answer comes every 0.1 s, with all of it of every request 0.2 s."""
    settings = load_settings(OPTIMIZED_CONFIG)
    return {
        **ORIGIN,
        "benchmark": "overhead",
        "rounds": len(on),
        "seconds": SECONDS,
        "complete": True,
        "metrics": {"token_s": 5e-6, "request_s": 6.4e-5},
        "idle_cores": [{"off": IDLE, "on": 0.5, "every": 0.0} for _ in on],
        "works": {
            work.name: {
                "scenario": scenario_of(work, SCENARIOS, settings).model_dump(mode="json"),
                "servers": {
                    "off": [had(0.1) for _ in on],
                    "on": [had(one, failed) for one in on],
                    "every": [had(0.2) for _ in on],
                },
            }
            for work in WORKS
            if work.name in MEASURED
        },
        **more,
    }


def test_the_share_of_the_speed_that_is_left() -> None:
    found = costs(result([0.1, 0.1, 0.1, 0.2, 0.125, 0.1]))
    assert [one.work.name for one in found] == list(MEASURED)
    for one in found:
        assert one.speed("on") == Ratio(1.0, 0.5, 1.0)
        assert one.speed("every").value == 0.5
        for server in ("on", "every"):  # what a server takes anyway does not count, and is the same for all
            left, speed = one.processor(server), one.speed(server)
            assert (left.value, left.low, left.high) == pytest.approx((speed.value, speed.low, speed.high))


def test_what_costs_more_than_it_may_is_told() -> None:
    """With all of it as by default: of every request it may cost what it does."""
    assert complaints(result([0.1025] * 6)) == []
    told = complaints(result([0.105] * 6))
    assert len(told) == len(MEASURED)
    assert told[0] == "generation: with all of it on 95.0% [95.0% to 95.0%] of the speed without; 97% is the least."


def test_requests_that_failed_are_told() -> None:
    assert complaints(result([0.1] * 6, failed=2))[0] == "generation, on: 12 requests failed."


def test_metrics_that_take_too_much_are_told() -> None:
    dear = result([0.1] * 6, metrics={"token_s": 2e-5, "request_s": 0.0})
    assert complaints(dear) == ["Metrics take 1.28% of one core; 1% is the most."]


def test_what_metrics_take_is_measured() -> None:
    found = metrics_cost()
    assert found.token_s > 0
    assert found.request_s >= 0


def test_the_page(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text(json.dumps(result([0.125] * 6)))
    text = page(tmp_path)
    assert "| Text generation, 32 callers | 10 (10 to 10)/s | 8 (8 to 8)/s | 80.0% [80.0% to 80.0%]" in text
    assert "of each server 10 s for each line of a round. Medians of 6 rounds, in brackets where it is with" in text
    assert "| 80.0% [80.0% to 80.0%] | 50.0% [50.0% to 50.0%] | 50.0% [50.0% to 50.0%] |" in text
    assert "97% is the least" in text
    assert "take 5.0 µs of a core for each token, with a step for each, and 64 µs for the rest" in text
    assert "0.31% of one core at this speed" in text


@pytest.mark.parametrize(("every", "per_second", "slow_s"), [(False, 1.0, None), (True, 1e9, 1e-6)])
def test_all_of_it_is_on(every: bool, per_second: float, slow_s: float | None, tmp_path: Path) -> None:
    plain = load_settings(OPTIMIZED_CONFIG)
    with collector() as otlp:
        on = everything_on(plain, tmp_path, otlp, every=every, turns=2)
        assert httpx.post(otlp, content=b"spans").status_code == 200
    (key,) = read_keys(Path(str(on.settings.access.keys)))
    assert (key.name, key.scopes) == ("benchmark", frozenset({"admin"}))
    with configuration(on.settings) as file:
        written = yaml.safe_load(file.read_text())
    assert (written["tracing"]["otlp"], written["tracing"]["per_second"]) == (otlp, per_second)
    assert written["logs"].get("slow_s") == slow_s
    assert (written["logs"]["format"], written["access"]["keys"]) == ("json", str(tmp_path / "keys.yaml"))
    with configuration(plain) as file:
        written = yaml.safe_load(file.read_text())
    assert "logs" not in written
    assert not written.get("access")
