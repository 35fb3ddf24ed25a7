"""A replica of several stages in Serve: it gets a placement group when it is woken, and gives it back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.node import local_node, node_temp_dir
from deployments.app import placed, scale
from deployments.serving import local_environment
from deployments.settings import Replicas, Stages, Variant

pytestmark = pytest.mark.ray

LIMIT_S = 120.0
VARIANT = Variant(
    precision="bf16",
    stages=Stages(count=2, placement="spread"),
    cores=1,
    replicas=Replicas(min=0, max=1, idle_s=1),
)


class Placed:
    """In the place of a replica."""

    def told(self) -> tuple[list[dict[str, float]], dict[str, float]]:
        import ray

        group = ray.util.get_current_placement_group()
        assert group is not None
        return group.bundle_specs, ray.get_runtime_context().get_assigned_resources()

    def record_autoscaling_stats(self) -> dict[str, float]:
        return {}


@pytest.fixture
def node() -> Iterator[None]:
    with node_temp_dir() as folder:
        # No front door, so none of what makes it fast.
        environment = {name: value for name, value in local_environment(folder).items() if "ENABLE_HA" not in name}
        with local_node(environment, folder):
            from ray import serve

            serve.start(proxy_location="Disabled")
            yield
            serve.shutdown()


def groups() -> list[tuple[str, str]]:
    from ray.util.placement_group import placement_group_table

    return [(group["state"], group["strategy"]) for group in placement_group_table().values()]


@pytest.mark.usefixtures("node")
def test_a_replica_that_wakes_gets_its_bundles_and_gives_them_back() -> None:
    from ray import serve

    deploy: Any = serve.deployment(name="staged", **scale(VARIANT), **placed(VARIANT, 0.4))
    handle = serve.run(deploy(Placed).bind(), name="app", route_prefix=None)
    assert groups() == []
    bundles, mine = handle.told.remote().result(timeout_s=LIMIT_S)
    assert bundles == [{"CPU": 0.0001}, {"CPU": 0.4}, {"CPU": 0.4}]
    assert mine == {"CPU": 0.0001}
    assert groups() == [("CREATED", "SPREAD")]
    deadline = time.monotonic() + LIMIT_S
    while groups() != [("REMOVED", "SPREAD")]:
        assert time.monotonic() < deadline, "the replica is not idle for ever"
        time.sleep(0.2)
