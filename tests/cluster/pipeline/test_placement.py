from __future__ import annotations

from typing import get_args

import pytest
from ray.util.placement_group import VALID_PLACEMENT_GROUP_STRATEGIES, validate_placement_group

from cluster.pipeline.placement import STRATEGIES, bundles, nodes_needed, stage_bundle, strategy
from deployments.settings.stages import Placement


def test_the_driver_comes_first_and_every_stage_gets_its_share() -> None:
    found = bundles(stages=3, cpus=1.5, gpus=0, driver_cpus=0.01)
    assert found == [{"CPU": 0.01}, {"CPU": 1.5}, {"CPU": 1.5}, {"CPU": 1.5}]
    assert [found[stage_bundle(stage)] for stage in range(3)] == found[1:]
    assert bundles(2, 1, 0.5, 0.01) == [{"CPU": 0.01}, {"CPU": 1, "GPU": 0.5}, {"CPU": 1, "GPU": 0.5}]
    assert bundles(1, 0, 1, 0.01) == [{"CPU": 0.01}, {"GPU": 1}]


@pytest.mark.parametrize("placement", sorted(STRATEGIES))
def test_ray_takes_what_is_made(placement: str) -> None:
    assert strategy(placement) in VALID_PLACEMENT_GROUP_STRATEGIES
    validate_placement_group(bundles(2, 1, 0.5, 0.01), strategy(placement), lifetime="detached")


def test_every_placement_of_the_settings_is_known() -> None:
    assert set(STRATEGIES) == set(get_args(Placement))


def test_only_strict_spread_needs_several_nodes() -> None:
    assert {placement: nodes_needed(2, placement) for placement in STRATEGIES} == {
        "pack": 1,
        "spread": 1,
        "strict-pack": 1,
        "strict-spread": 3,
    }
