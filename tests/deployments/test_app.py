from __future__ import annotations

from pathlib import Path

import pytest

from deployments.app import build_app, front_doors, offered, placed
from deployments.gate import Verdict
from deployments.provision import VariantFiles
from deployments.settings import Model, Replicas, Settings, Stages, Variant
from engine.config import Precision


@pytest.mark.parametrize(
    ("precision", "retained", "measured"), [("fp32", 1.0, True), ("bf16", 1.0, False), ("int8-dynamic", None, False)]
)
def test_what_is_taken_for_granted_of_a_variant(precision: Precision, retained: float | None, measured: bool) -> None:
    for verdict in (None, Verdict(None, measured=False)):
        found = offered(Variant(precision=precision), verdict)
        assert (found.name, found.retained, found.measured, found.may_sleep) == (precision, retained, measured, False)


@pytest.mark.parametrize(("share", "shares"), [(1.0, False), (0.5, True)])
def test_variants_that_cannot_reserve_all_of_their_cores_share_them(share: float, shares: bool) -> None:
    variants = [{"precision": "fp32", "cores": 2}, {"precision": "bf16", "cores": 2}]
    settings = Settings.model_validate({"models": [{"name": "m", "source": "somewhere", "variants": variants}]})
    files = {("m", name): VariantFiles.at(Path("somewhere")) for name in ("fp32", "bf16")}
    app = build_app(settings, files, {}, share=share)
    (offer,) = app._bound_deployment.init_args[0]
    assert [variant.shares for variant in offer.variants] == [shares, shares]


def test_a_replica_of_one_process_reserves_its_cores() -> None:
    threads = {"runtime_env": {"env_vars": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}}}
    assert placed(Variant(precision="bf16", cores=2), 1.0) == {"ray_actor_options": {"num_cpus": 2, **threads}}


def test_shares_are_rounded_so_that_all_find_a_place() -> None:
    cpus = [placed(Variant(precision="bf16", cores=2), 1 / 3)["ray_actor_options"]["num_cpus"] for _ in range(3)]
    assert 1.999 < sum(cpus) <= 2
    assert placed(Variant(precision="bf16", cores=1), 1e-9)["ray_actor_options"]["num_cpus"] == 1e-4


def test_stages_get_a_bundle_each_after_the_one_of_the_replica() -> None:
    stages = Stages(count=2, balance=(2, 1), placement="strict-pack", num_gpus=0.5)
    options = placed(Variant(precision="bf16", cores=4, stages=stages), 0.25)
    driver, *others = options["placement_group_bundles"]
    assert options["ray_actor_options"]["num_cpus"] <= driver["CPU"] < 0.1
    assert others == [{"CPU": 1, "GPU": 0.5}] * 2
    assert options["placement_group_strategy"] == "STRICT_PACK"


def test_serve_takes_deployments_with_stages(tmp_path: Path) -> None:
    """Of a fixed number of replicas, and with autoscaling."""
    variants = (
        Variant(precision="bf16", stages=Stages(count=2)),
        Variant(precision="fp32", stages=Stages(count=3, placement="spread"), replicas=Replicas(min=0, max=2)),
    )
    settings = Settings(models=(Model(name="m", source="m", variants=variants),)).with_cores(8)
    files = {("m", variant.name): VariantFiles.at(tmp_path) for variant in variants}
    for surge in (False, True):
        build_app(settings, files, {}, share=settings.reserved_share(8), surge=surge)


@pytest.mark.parametrize(("count", "on_the_head"), [(1, True), (2, False), (5, False)])
def test_front_doors(count: int, on_the_head: bool) -> None:
    options = front_doors(count)
    assert options["num_replicas"] == count
    assert options["ray_actor_options"]["num_cpus"] == 0
    assert ("resources" in options["ray_actor_options"]) == on_the_head
    assert (options.get("max_replicas_per_node") == 1) == (not on_the_head)
    # A successor beside its predecessor: where each node has its one front door, it would wait for ever.
    assert ("max_surge_percent" in options) == on_the_head
