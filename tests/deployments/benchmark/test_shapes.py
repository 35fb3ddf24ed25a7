from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.benchmark.shapes import (
    Place,
    Shape,
    choose,
    configuration,
    misplaced,
    running,
    shapes,
    share,
)
from deployments.settings import DEMO_CONFIG, load_settings
from engine.errors import ConfigError

STAGES, REPLICAS = Shape(2, "stages"), Shape(2, "replicas")


def test_one_node_is_always_measured_and_others_in_both_ways() -> None:
    assert [shape.name for shape in shapes((3, 2))] == [
        "one process",
        "2 stages",
        "2 replicas",
        "3 stages",
        "3 replicas",
    ]
    assert shapes((1,)) == [Shape(1)]


def test_nodes_share_the_cores_evenly() -> None:
    assert share([4, 5, 6, 7, 8, 9], 1).cores == ((4, 5, 6, 7, 8, 9),)
    two, three = share([4, 5, 6, 7, 8, 9], 2), share([4, 5, 6, 7, 8, 9], 3)
    assert (two.threads, two.cores, two.apart) == (3, ((4, 5, 6), (7, 8, 9)), True)
    assert (three.threads, three.cores) == (2, ((4, 5), (6, 7), (8, 9)))


def test_cores_that_cannot_be_shared_evenly_are_everybodys() -> None:
    few, uneven = share([0, 1], 3), share([0, 1, 2, 3, 4], 2)
    assert (few.threads, few.cores, few.apart) == (1, ((0, 1),) * 3, False)
    assert (uneven.threads, uneven.apart) == (2, False)


def test_a_model_is_chosen_by_name_and_variant() -> None:
    settings = load_settings(DEMO_CONFIG)
    assert [one.name for one in choose(settings, "")] == ["smollm2", "bf16"]
    assert [one.name for one in choose(settings, "en-de:int8-dynamic")] == ["en-de", "int8-dynamic"]
    for unknown in ("nobody", "smollm2:fp8"):
        with pytest.raises(ConfigError, match="Which model"):
            choose(settings, unknown)


@pytest.mark.parametrize("shape", [Shape(1), STAGES, REPLICAS], ids=lambda shape: shape.name)
def test_the_configuration_serves_what_was_asked_and_nothing_else(shape: Shape, tmp_path: Path) -> None:
    model, variant = choose(load_settings(DEMO_CONFIG), "smollm2:int8-dynamic")
    path = tmp_path / "serve.yaml"
    path.write_text(configuration(model, variant, shape, threads=3))
    (found,) = load_settings(path).models
    (served,) = found.variants
    assert found.model_copy(update={"variants": ()}) == model.model_copy(update={"variants": ()})
    assert (served.precision, served.prepared, served.cores) == ("int8-dynamic", variant.prepared, 3)
    replicas = 2 if shape == REPLICAS else 1
    assert (served.replicas.min, served.replicas.max) == (replicas, replicas)
    assert served.stages.count == (2 if shape == STAGES else 1)


def replica(node: str, *stages: str, state: str = "ready", stage_state: str = "ready") -> dict[str, Any]:
    told: dict[str, Any] = {"node": node, "state": state}
    return told | ({"stages": [{"node": one, "state": stage_state} for one in stages]} if stages else {})


def status(*replicas: dict[str, Any]) -> dict[str, Any]:
    others = {"name": "other", "variants": [{"name": "bf16", "replicas": [replica("9")]}]}
    return {"models": [others, {"name": "m", "variants": [{"name": "bf16", "replicas": list(replicas)}]}]}


def test_where_replicas_and_stages_run() -> None:
    assert running(status(replica("1"), replica("2")), "m") == [Place("1", ("1",)), Place("2", ("2",))]
    assert running(status(replica("1", "1", "2")), "m") == [Place("1", ("1", "2"))]
    assert running(status(replica("1", state="failed")), "m") == []
    assert running(status(replica("1", "1", "2", stage_state="lost")), "m") == []
    assert Place("1", ("1", "2")).named({"1": "a"}) == Place("a", ("a", "2"))


def test_what_runs_elsewhere_is_not_measured() -> None:
    right = {
        STAGES: [Place("2", ("1", "2"))],
        REPLICAS: [Place("1", ("1",)), Place("2", ("2",))],
        Shape(1): [Place("1", ("1",))],
    }
    for shape, found in right.items():
        assert misplaced(found, shape) is None
        for other in right.keys() - {shape}:
            assert misplaced(found, other), (shape, other)
    assert misplaced([], REPLICAS)
    assert "1, 2" in (misplaced([Place("1", ("2", "2"))], STAGES) or ""), "both stages on one node"
    assert misplaced([Place("3", ("1", "2"))], STAGES), "the driver on a node of its own"
    assert misplaced([Place("1", ("1",))] * 2, REPLICAS), "both replicas on one node"
