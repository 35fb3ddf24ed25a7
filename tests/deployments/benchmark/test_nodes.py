from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from deployments.benchmark.nodes import figures, for_round, unit, with_model
from deployments.benchmark.nodes_table import markdown
from engine.errors import ConfigError, EngineFailed
from loadtest.record import Record
from loadtest.scenario import Closed, load_scenario

GENERATION = load_scenario(Path("generation"))


def streamed(number: int, sent_s: float, tokens: int = 5, gap_s: float = 0.1) -> Record:
    first_s = sent_s + 0.5
    gaps = [gap_s] * (tokens - 1)
    end_s = first_s + sum(gaps)
    return Record(
        number, "completions", "m", sent_s, sent_s=sent_s, first_s=first_s, last_s=end_s, end_s=end_s, gaps_s=gaps,
        status=200, output_tokens=tokens,
    )  # fmt: skip


def test_rates_are_of_the_time_after_the_warm_up_and_counts_of_all() -> None:
    scenario = for_round(GENERATION, seconds=10.0, seed=1)
    records = [streamed(number, at) for number, at in enumerate((0.0, 4.0, 6.0, 8.0))]
    found = figures(records, scenario)
    assert found["rate"] == pytest.approx(15 / 10)
    assert found["answered"] == 20
    assert found["failed"] == 0
    assert found["ttft_p50_ms"] == pytest.approx(500)
    assert found["tpot_p50_ms"] == pytest.approx(100)


def test_a_run_without_an_answer_is_no_measurement() -> None:
    scenario = for_round(GENERATION, seconds=10.0, seed=1)
    with pytest.raises(EngineFailed, match="no room"):
        figures([Record(0, "completions", "m", 4.0, failure="503", message="no room")], scenario)
    with pytest.raises(EngineFailed, match="no request"):
        figures([], scenario)


def test_each_measurement_asks_something_else() -> None:
    scenario = for_round(with_model(GENERATION, "m"), seconds=4.0, seed=7, users=1)
    assert (scenario.seed, scenario.duration_s, scenario.load) == (7, 4.0, Closed(users=1))
    assert scenario.requests[0].model == "m"
    assert unit(scenario) == "tokens/s"
    assert unit(load_scenario(Path("classification"))) == "texts/s"


@pytest.mark.parametrize("name", ["chat", "mix"])
def test_open_loops_and_mixtures_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="closed loop"):
        with_model(load_scenario(Path(name)), "m")


def sample(rate: float, between: int = 400_000, **more: Any) -> dict[str, Any]:
    traffic = {"between": between, "client": 1, "sent": {}, "received": {}}
    where = [{"driver": "node-1", "parts": ["node-1", "node-2"]}]
    return {"rate": rate, "tpot_p50_ms": 20.0, "failed": 0, "answered": 100, "bytes": traffic,
            "idle_bytes_per_s": 2000.0, "where": where, **more}  # fmt: skip


def shape(nodes: int, name: str, rates: list[float], **more: Any) -> dict[str, Any]:
    told = {"nodes": nodes, "name": name, "threads": 2 // nodes or 1, "ideal": 1.0, "apart": nodes < 3}
    return {**told, **more, "samples": [sample(rate) for rate in rates]}


RESULT = {
    "benchmark": "nodes",
    "model": "m",
    "variant": "bf16",
    "scenario": {"load": {"users": 32}},
    "unit": "tokens/s",
    "used_cores": 2,
    "head_apart": False,
    "rounds": 3,
    "seconds": 10.0,
    "processor": "a processor",
    "commit": "abc",
    "date": "2026-11-28T00:00:00",
    "shapes": [
        shape(1, "one process", [100.0, 110.0, 90.0]),
        shape(2, "2 stages", [90.0, 99.0, 81.0]),
        shape(3, "3 replicas", [50.0, 55.0, 45.0], ideal=0.75),
    ],
    "slow": {
        "shape": "2 stages",
        "node": "node-2",
        "samples": [
            {"delay_ms": 0.0, "relay": False, "callers": 32, **sample(80.0)},
            {"delay_ms": 0.001, "relay": True, "callers": 32, **sample(72.0)},
            {"delay_ms": 10.0, "relay": True, "callers": 32, **sample(60.0), "tpot_p50_ms": None},
            {"delay_ms": 0.0, "relay": False, "callers": 32, **sample(100.0)},
            {"delay_ms": 0.0, "relay": False, "callers": 32, **sample(60.0)},
        ],
    },
}


def test_the_table_holds_each_shape_against_one_node() -> None:
    text = markdown(RESULT)
    assert "| 1 | one process | 1 x 2 | own | 100 (90 to 110) | 100% | 20 ms | 4 | 2 KB/s |" in text
    assert "| 2 | 2 stages | 2 x 1 | own | 90 (81 to 99) | 90% [90% to 90%] | 20 ms | 4 | 2 KB/s |" in text
    assert "| 50% [50% to 50%] (at best 75%) |" in text
    assert "| 3 x 1 | shared |" in text
    assert "the same cores as the nodes" in text


def test_the_table_of_a_slow_link() -> None:
    text = markdown(RESULT)
    assert "stage 0 on node-1, stage 1 on node-2; driver on node-1" in text
    assert "| 0 ms | 32 | 80 | 100% | 20 ms |" in text
    assert "| 0 ms, handed on | 32 | 72 | 90% | 20 ms |" in text
    assert "| 10 ms | 32 | 60 | 75% | – |" in text
    assert "slow link" not in markdown({**RESULT, "slow": None})


def test_a_single_round_has_no_interval() -> None:
    result = copy.deepcopy(RESULT)
    result["rounds"] = 1
    for one in result["shapes"]:  # type: ignore[attr-defined]
        one["samples"] = one["samples"][:1]
    text = markdown(result)
    assert "| 2 | 2 stages | 2 x 1 | own | 90 | 90% | 20 ms |" in text
    assert "one round of 10 s" in text
