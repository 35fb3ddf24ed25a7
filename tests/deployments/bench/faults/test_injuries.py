"""What is hit, chosen from what the server tells of itself; and what a trial comes to."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from deployments.bench.faults.bodies import bodies
from deployments.bench.faults.injuries import KINDS, Injury, choose
from deployments.bench.faults.leftovers import Holdings, left_over
from deployments.bench.faults.picture import draw
from deployments.bench.faults.reader import Choice, Told
from deployments.bench.faults.run import Trial, result
from deployments.bench.node_server import Part, parts
from deployments.cli.bench import FAULTS

TRIAL = Trial("m", 2, 10, 0.0, 3, 1, seed=1)


def status() -> dict[str, Any]:
    stages = [{"index": i, "pid": 10 + i, "node": f"10.0.0.{i + 2}", "state": "ready"} for i in range(2)]
    whole = {"state": "ready", "pid": 1, "node": "10.0.0.2", "stages": stages}
    half = {**whole, "pid": 2, "node": "10.0.0.3", "stages": [{**stages[0], "pid": 20}, {**stages[1], "state": "lost"}]}
    dead = {**whole, "pid": 3, "state": "failed"}
    other = {"name": "other", "variants": [{"replicas": [{"state": "ready", "pid": 9, "node": "10.0.0.9"}]}]}
    return {"models": [other, {"name": "m", "variants": [{"replicas": [whole, half, dead]}]}]}


def test_parts_are_those_that_work() -> None:
    found = parts(status(), "m")
    assert [(one.pid, one.stage) for one in found] == [(1, None), (10, 0), (11, 1), (2, None), (20, 0)]
    assert found[2] == Part(11, "10.0.0.3", 1)


def test_each_kind_hits_its_own() -> None:
    found, nodes = parts(status(), "m"), {"10.0.0.3": "node-2"}
    for seed in range(20):
        for kind in KINDS:
            chosen = choose(kind, found, nodes, random.Random(seed))
            assert chosen is not None
            name, part = chosen
            assert (name, part.node) == ("node-2", "10.0.0.3")
            if kind.startswith("stage"):
                assert part.stage is not None
            if kind == "replica killed":
                assert part.stage is None
    assert choose("stage killed", found, {"10.0.0.7": "x"}, random.Random(0)) is None


def test_bodies_are_different_and_always_the_same() -> None:
    made = bodies("m", 100, 50)
    assert made == bodies("m", 100, 50)
    assert len({str(body) for body in made}) == 100
    assert {"seed", "logprobs", "stop", "response_format", "n", "echo"} <= {key for body in made for key in body}


def told(text: str, start: float, error: str = "") -> Told:
    choice = Choice(text, "length", arrivals=[start, start + 1.0, start + 3.0])
    one = Told(start, {0: choice}, {"completion_tokens": 3})
    one.ended_s, one.done, one.error = start + 3.5, not error, error
    return one


def test_the_result_counts_what_is_lost_and_what_is_changed(tmp_path: Path) -> None:
    calm = [told("a", 0.0), told("b", 0.0)]
    streams = [(0, told("a", 100.0)), (1, told("c", 100.0)), (0, told("a", 110.0, error="gone"))]
    injury = Injury("stage killed", "stage 0 on node-1", at_s=101.5, recovered_s=104.0)
    found = result(TRIAL, calm, streams, [injury])
    assert (found["streams"], found["lost"], found["changed"]) == (3, 1, 1)
    assert found["injuries"][0]["longest_gap_s"] == 2.0
    assert found["injuries"][0]["streams"] == 2
    assert found["lost_streams"] == [(0, "gone")]
    draw(found, tmp_path / "faults.png")
    assert (tmp_path / "faults.png").stat().st_size > 1000


def test_what_is_more_than_before_is_left_over() -> None:
    before = Holdings(2, {"StageWorker": 4, "ServeReplica": 3}, {"ray::StageWorker": 4}, 5)
    assert left_over(before, before) == []
    assert left_over(before, Holdings(1, {"StageWorker": 3}, {}, 0)) == []
    after = Holdings(3, {"StageWorker": 4, "Other": 1}, {"ray::StageWorker": 6}, 6)
    assert left_over(before, after) == [
        "1 placement groups",
        "1 actors Other",
        "2 processes ray::StageWorker",
        "1 listening ports",
    ]


def test_the_command_knows_all_kinds() -> None:
    assert FAULTS == KINDS
