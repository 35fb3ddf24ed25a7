"""What a pipeline asks Ray for."""

from __future__ import annotations

from typing import get_args

import pytest
from ray.util.placement_group import VALID_PLACEMENT_GROUP_STRATEGIES, validate_placement_group

from cluster.pipeline.placement import Resources, Strategy, nodes_needed, place
from deployments.settings.stages import Placement
from engine.errors import ConfigError

STRATEGIES = get_args(Strategy)


def test_a_bundle_for_each_stage_after_the_drivers() -> None:
    found = place(3, Resources(2.0, 0.5), "pack", driver={"CPU": 0.01})
    assert found.bundles == ({"CPU": 0.01}, *[{"CPU": 2.0, "GPU": 0.5}] * 3)
    assert found.first_stage == 1
    alone = place(2, Resources(1.0), "spread")
    assert (alone.bundles, alone.first_stage, alone.strategy) == (({"CPU": 1.0},) * 2, 0, "SPREAD")


def test_no_bundle_is_empty() -> None:
    found = place(2, Resources(0.0), "pack")
    assert all(sum(bundle.values()) > 0 for bundle in found.bundles)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ray_takes_it(strategy: Strategy) -> None:
    found = place(2, Resources(1.5), strategy, driver={"CPU": 0.01})
    assert found.strategy in VALID_PLACEMENT_GROUP_STRATEGIES
    validate_placement_group([dict(bundle) for bundle in found.bundles], strategy=found.strategy)


def test_the_settings_have_the_same_names() -> None:
    assert set(STRATEGIES) == set(get_args(Placement))


def test_only_strict_spreading_needs_more_nodes_than_one() -> None:
    found = {strategy: nodes_needed(2, strategy) for strategy in STRATEGIES}
    assert found == {"pack": 1, "spread": 1, "strict-pack": 1, "strict-spread": 3}


def test_what_cannot_be_placed() -> None:
    for stages, resources in ((0, Resources()), (2, Resources(-1.0))):
        with pytest.raises(ConfigError):
            place(stages, resources, "pack")
