"""The loss of a node: its figures, and the benchmark itself, shortened, on real nodes."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster.nodes.namespaces import unavailable
from deployments.benchmark import faults
from deployments.benchmark.faults import Loss, Plan, bench_faults, lose, marked, nothing_lost, summary
from deployments.benchmark.faults_table import markdown
from deployments.benchmark.losses import wrong_lengths
from deployments.cli.benchmark_common import HERE
from deployments.settings import load_settings
from engine.errors import ConfigError, EngineFailed
from loadtest.record import Record
from loadtest.scenario import Open, Phase, load_scenario
from tests.deployments.benchmark.measured import ORIGIN
from tests.deployments.benchmark.test_losses import SCENARIO, streamed

START_S = 1000.0
LOSS = Loss("node-2", START_S + 10.0, START_S + 16.0, START_S + 14.0)
FACTS = {
    "model": "m",
    "variant": "bf16",
    "replicas": 2,
    "nodes": 3,
    **ORIGIN,
    "client": {"verdict": ""},
    "resumed": 1.0,
}


def records() -> list[Record]:
    found = [streamed(number, at, [0.1, pause]) for number, (at, pause) in enumerate(((1, 0.1), (9.5, 3.0), (15, 0.2)))]
    for record in found:
        record.output_tokens = 1
    for wrong in wrong_lengths(found, SCENARIO):
        found[wrong["number"]].output_tokens = wrong["asked"]
    return found


def test_what_was_seen_of_a_loss() -> None:
    found = summary(records(), SCENARIO, LOSS, START_S)
    assert (found["killed_s"], found["whole_s"], found["back_s"]) == (10.0, 14.0, 16.0)
    assert found["under_way"] == 1
    assert found["windows"]["during"]["longest_pause_s"] == pytest.approx(3.0)
    assert found["windows"]["after"]["longest_pause_s"] == pytest.approx(0.2)
    assert nothing_lost(found)
    text = markdown({**FACTS, **found})
    assert "Of 3 requests none was lost, all of the length that was asked for" in text
    assert "node-2 was killed 10 s after the start, with 1 requests under way" in text
    assert "after 4.0 s there were 2 replicas again" in text
    assert "| until all replicas were back | 0 | – | – | – | – | 0.0 s | 3.0 s |" in text


def test_a_lost_request_another_length_or_a_lost_replica_is_no_success() -> None:
    lost, shorter = records(), records()
    lost[1].failure = "cut"
    shorter[2].output_tokens += 1
    for made, words in ((lost, "Of 3 requests 1 was lost"), (shorter, "1 of another length than asked")):
        found = summary(made, SCENARIO, LOSS, START_S)
        assert not nothing_lost(found)
        assert words in markdown({**FACTS, **found})
    never = summary(records(), SCENARIO, Loss("node-2", LOSS.killed_s, LOSS.back_s, None), START_S)
    assert not nothing_lost(never)
    assert "there were not 2 replicas again" in markdown({**FACTS, **never})
    assert never["windows"]["during"]["until_s"] == SCENARIO.total_s


def test_the_marks_are_seconds_from_the_runs_start() -> None:
    assert marked(LOSS, START_S, 2) == [
        {"at_s": 10.0, "until_s": 16.0, "what": "node-2 is dead"},
        {"at_s": 14.0, "until_s": None, "what": "2 replicas again"},
    ]
    assert len(marked(Loss("node-2", LOSS.killed_s), START_S, 2)) == 1


def test_where_the_load_is_over_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "BEGIN_S", 1e9)
    over = threading.Event()
    over.set()
    cluster: Any = None  # nothing of it may be touched
    with pytest.raises(EngineFailed, match="did not begin"):
        lose(cluster, "http://nowhere", "m", tmp_path / "requests.jsonl", 1.0, 1.0, 2, over)


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_a_loss_after_the_loads_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "fetch_models", lambda settings, console: {})
    config = HERE / "faults.yaml"
    with pytest.raises(ConfigError, match="ends after 20 s"):
        bench_faults(Plan(SCENARIO, config, at_s=20.0), load_settings(config), Console(stderr=True), tmp_path)


@pytest.mark.ray
@pytest.mark.model
@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_no_request_is_lost_with_a_node(demo_models: object, tmp_path: Path) -> None:
    scenario = load_scenario(HERE / "scenarios" / "peak.yaml")
    load = Open(
        arrivals="poisson", phases=(Phase(seconds=4, rate=2), Phase(seconds=4, rate=4), Phase(seconds=4, rate=1))
    )
    short = scenario.model_copy(update={"load": load, "duration_s": 12.0})
    config = HERE / "faults.yaml"
    plan = Plan(short, config, away_s=0.0)
    result = bench_faults(plan, load_settings(config), Console(stderr=True), tmp_path)
    assert result["lost"] == []
    assert result["wrong_lengths"] == []
    assert nothing_lost(result)
    assert result["requests"] > 10
    assert 5 < result["killed_s"] < 12
    assert result["back_s"] > result["killed_s"]
    marks = [json.loads(line) for line in (tmp_path / "marks.jsonl").read_text().splitlines()]
    assert [mark["what"] for mark in marks] == [f"{result['node']} is dead", "2 replicas again"]
    assert (tmp_path / "timeline.png").exists()
