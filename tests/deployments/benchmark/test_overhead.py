"""What monitoring and access control cost, from a result."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from deployments.benchmark.servers import configuration
from deployments.benchmark.stored import RESULT
from deployments.benchmark.works import SCENARIOS, WORKS, scenario_of
from deployments.cli.benchmark import OPTIMIZED_CONFIG
from deployments.settings import load_settings
from tests.deployments.benchmark.measured import ORIGIN, server


def result(on: Sequence[float], **more: Any) -> dict[str, Any]:
    """With all of it off each answer takes 2 s, with all of it of every request 4 s."""
    settings = load_settings(OPTIMIZED_CONFIG)
    return {
        **ORIGIN,
        "benchmark": "overhead",
        "rounds": len(on),
        "complete": True,
        "metrics": {"token_s": 5e-6, "request_s": 6.4e-5},
        "works": {
            work.name: {
                "scenario": scenario_of(work, SCENARIOS, settings).model_dump(mode="json"),
                "servers": {
                    "off": server([2.0] * len(on), 1),
                    "on": server(on, 1, **more),
                    "every": server([4.0] * len(on), 1),
                },
            }
            for work in WORKS
            if work.name in MEASURED
        },
    }


def test_the_share_of_the_speed_that_is_left() -> None:
    found = costs(result([2.0, 2.0, 2.0, 4.0, 2.5, 2.0]))
    assert [one.work.name for one in found] == list(MEASURED)
    assert {(one.share, one.low, one.high) for one in found} == {(1.0, 0.5, 1.0)}
    assert {one.share for one in costs(result([2.0]), "every")} == {0.5}


def test_what_costs_more_than_it_may_is_told() -> None:
    """With all of it as by default: of every request it may cost what it does."""
    assert complaints(result([2.05] * 6)) == []
    told = complaints(result([2.1] * 6))
    assert len(told) == len(MEASURED)
    assert told[0] == "generation: with all of it on 95.2% [95.2% to 95.2%] of the speed without; 97% is the least."


def test_metrics_that_take_too_much_are_told() -> None:
    dear = {**result([2.0] * 6), "metrics": {"token_s": 4e-4, "request_s": 0.0}}
    assert complaints(dear) == ["Metrics take 1.28% of one core; 1% is the most."]


def test_what_metrics_take_is_measured() -> None:
    found = metrics_cost()
    assert found.token_s > 0
    assert found.request_s >= 0


def test_the_page(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text(json.dumps(result([2.5] * 6)))
    text = page(tmp_path)
    assert (
        "| Text generation, 32 callers | 32 (32 to 32) tokens/s | 25.6 (25.6 to 25.6) tokens/s | 80.0% [80.0%" in text
    )
    assert "Medians of 6 rounds, in brackets where it is with 95%." in text
    assert "| 80.0% [80.0% to 80.0%] | 50.0% [50.0% to 50.0%] |" in text
    assert "97% is the least" in text
    assert "take 5.0 µs of a core for each token, with a step for each, and 64 µs for the rest" in text
    assert "0.02% of one core at this speed" in text


@pytest.mark.parametrize(("every", "sample", "slow_s"), [(False, None, None), (True, 1.0, 1e-6)])
def test_all_of_it_is_on(every: bool, sample: float | None, slow_s: float | None, tmp_path: Path) -> None:
    plain = load_settings(OPTIMIZED_CONFIG)
    with collector() as otlp:
        on = everything_on(plain, tmp_path, otlp, every=every)
        assert httpx.post(otlp, content=b"spans").status_code == 200
    (key,) = read_keys(Path(str(on.settings.access.keys)))
    assert (key.name, key.scopes) == ("benchmark", frozenset({"admin"}))
    with configuration(on.settings) as file:
        written = yaml.safe_load(file.read_text())
    assert (written["tracing"]["otlp"], written["tracing"].get("sample")) == (otlp, sample)
    assert written["logs"].get("slow_s") == slow_s
    assert (written["logs"]["format"], written["access"]["keys"]) == ("json", str(tmp_path / "keys.yaml"))
    with configuration(plain) as file:
        written = yaml.safe_load(file.read_text())
    assert "logs" not in written
    assert not written.get("access")
