from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from deployments.benchmark.harness import Measured
from deployments.benchmark.node_baseline import sample_of
from deployments.benchmark.node_measures import figures, scenario_for, unit
from deployments.benchmark.nodes_table import markdown
from deployments.benchmark.works import with_model
from engine.errors import ConfigError, EngineFailed
from loadtest.record import Record
from loadtest.scenario import Closed, load_scenario
from tests.deployments.benchmark.measured import ORIGIN

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
    scenario = scenario_for(GENERATION, seconds=10.0, seed=1)
    records = [streamed(number, at) for number, at in enumerate((0.0, 4.0, 6.0, 8.0))]
    found = figures(records, scenario)
    assert found["rate"] == pytest.approx(15 / 10)
    assert found["answered"] == 20
    assert found["failed"] == 0
    assert found["ttft_p50_ms"] == pytest.approx(500)
    assert found["tpot_p50_ms"] == pytest.approx(100)


def test_a_run_without_an_answer_is_no_measurement() -> None:
    scenario = scenario_for(GENERATION, seconds=10.0, seed=1)
    with pytest.raises(EngineFailed, match="no room"):
        figures([Record(0, "completions", "m", 4.0, failure="503", message="no room")], scenario)
    with pytest.raises(EngineFailed, match="no request"):
        figures([], scenario)


def test_each_measurement_asks_something_else() -> None:
    scenario = scenario_for(with_model(GENERATION, "m"), seconds=4.0, seed=7, users=1)
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
            "idle_bytes_per_s": 2000.0, "where": where, "client": {"verdict": ""}, **more}  # fmt: skip


def shape(nodes: int, name: str, rates: list[float], **more: Any) -> dict[str, Any]:
    told = {
        "how": name.rpartition(" ")[2] if nodes > 1 else "replicas",
        "nodes": nodes,
        "name": name,
        "threads": 2 // nodes or 1,
        "apart": nodes < 3,
    }
    return {**told, **more, "samples": [sample(rate) for rate in rates]}


REQUESTS = [{"kind": "completions", "stream": True}]
RESULT: dict[str, Any] = {
    **ORIGIN,
    "benchmark": "nodes",
    "complete": True,
    "model": "m",
    "variant": "bf16",
    "scenario": {"name": "generation", "load": {"users": 32}, "requests": REQUESTS},
    "unit": "tokens/s",
    "used_cores": 2,
    "head_apart": False,
    "rounds": 3,
    "seconds": 10.0,
    "shapes": [
        shape(1, "one process", [100.0, 110.0, 90.0]),
        shape(2, "2 stages", [90.0, 99.0, 81.0]),
        shape(3, "3 replicas", [50.0, 55.0, 45.0]),
    ],
    "baselines": [
        {"nodes": 1, "samples": [sample(rate, threads=2) for rate in (20.0, 20.0, 10.0)]},
        {"nodes": 3, "samples": [sample(25.0, threads=count) for count in (1, 2, 1)]},
    ],
    "slow": {
        "shape": "2 stages",
        "node": "node-2",
        "samples": [
            {"round": 1, "delay_ms": 0.0, "relay": False, "callers": 32, **sample(80.0)},
            {"round": 1, "delay_ms": 0.001, "relay": True, "callers": 32, **sample(72.0)},
            {"round": 1, "delay_ms": 10.0, "relay": True, "callers": 32, **sample(60.0), "tpot_p50_ms": None},
            {"round": 2, "delay_ms": 10.0, "relay": True, "callers": 32, **sample(50.0), "tpot_p50_ms": None},
            {"round": 2, "delay_ms": 0.001, "relay": True, "callers": 32, **sample(60.0)},
            {"round": 2, "delay_ms": 0.0, "relay": False, "callers": 32, **sample(100.0)},
        ],
    },
}


def test_the_table_holds_each_shape_against_one_node() -> None:
    text = markdown(RESULT)
    assert "| 1 | one process | 1 x 2 | own | 100 (90 to 110) | 100% | 20 ms | 4 | 2 KB/s |" in text
    assert "| 2 | 2 stages | 2 x 1 | own | 90 (81 to 99) | 90% [90% to 90%] | 20 ms | 4 | 2 KB/s |" in text
    assert "scenario `generation` of completions, streamed, 32 callers" in text
    assert "| 3 x 1 | shared |" in text
    assert "the same cores as the nodes" in text


def test_the_baseline_is_held_against_a_replica_on_each_node() -> None:
    text = markdown(RESULT)
    assert "| 1 | 1 x 2 | 20 (10 to 20) | 100 (90 to 110) | 5.50x [5.00 to 9.00] |" in text
    assert "| 3 | 3 x 1/2 | 25 (25 to 25) | 50 (45 to 55) | 2.00x [1.80 to 2.20] |" in text


def test_the_baselines_rate_is_of_all_that_it_answered() -> None:
    records = [streamed(number, at, tokens=4) for number, at in enumerate((0.0, 1.0))]
    found = sample_of(Measured(records, {"verdict": ""}), GENERATION, {"threads": 1})
    assert (found["rate"], found["threads"]) == (pytest.approx(8 / 1.8), 1)


def test_the_table_of_a_slow_link() -> None:
    text = markdown(RESULT)
    assert "stage 0 on node-1, stage 1 on node-2; driver on node-1" in text
    assert "| 0 ms | 32 | 90 (80 to 100) | 100% [100% to 100%] | 20 ms |" in text
    assert "| 0 ms, handed on | 32 | 66 (60 to 72) | 75% [60% to 90%] | 20 ms |" in text
    assert "| 10 ms | 32 | 55 (50 to 60) | 62% [50% to 75%] | – |" in text
    assert "slow link" not in markdown({**RESULT, "slow": None})


def test_a_single_round_has_no_interval() -> None:
    result = copy.deepcopy(RESULT)
    result["rounds"] = 1
    for one in (*result["shapes"], *result["baselines"]):
        one["samples"] = one["samples"][:1]
    text = markdown(result)
    assert "| 2 | 2 stages | 2 x 1 | own | 90 | 90% | 20 ms |" in text
    assert "One round of 10 s" in text


def test_what_the_client_says_against_itself_is_told() -> None:
    result = copy.deepcopy(RESULT)
    result["shapes"][1]["samples"][0]["client"]["verdict"] = "The client was late."
    assert "2 stages: The client was late. (in 1 of 3 rounds)" in markdown(result)
