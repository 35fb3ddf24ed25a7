from __future__ import annotations

from typing import Any

import pytest

from deployments.app import placed
from deployments.k8s.capacity import Part, PodSize, pack, parts, parts_while_replacing, replica_parts
from deployments.settings import Settings, Variant

SMALL, LARGE, GPU = PodSize("small", 2), PodSize("large", 8), PodSize("gpu", 4, 1)


def variant(**fields: Any) -> Variant:
    return Variant.model_validate({"precision": "bf16", "cores": 2, **fields})


def settings(**fields: Any) -> Settings:
    model = {"name": "m", "source": "pypi:m==1/m.gguf", "variants": [{"precision": "bf16", "cores": 2, **fields}]}
    return Settings.model_validate({"models": [model]})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stages": 3},
        {"stages": {"balance": [3, 2], "num_gpus": 1}},
        {"stages": {"count": 2, "placement": "strict-spread"}},
        {"stages": {"count": 2, "placement": "spread", "memory": "1GiB"}},
    ],
)
def test_parts_are_what_the_application_reserves(fields: dict[str, Any]) -> None:
    """`deployments.app` tells Serve; where nothing is strictly together each bundle is a part."""
    one = variant(**fields)
    asked = placed(one, share=1.0)
    bundles = asked.get("placement_group_bundles") or [{"CPU": asked["ray_actor_options"]["num_cpus"]}]
    reserved = [(bundle.get("CPU", 0.0), bundle.get("GPU", 0.0)) for bundle in bundles]
    assert [(part.cpus, part.gpus) for part in replica_parts("m", one)] == reserved


def test_strictly_packed_stages_are_one_part_with_their_driver() -> None:
    one = variant(stages={"count": 3, "placement": "strict-pack"})
    bundles = placed(one, share=1.0)["placement_group_bundles"]
    [part] = replica_parts("m", one)
    assert part.cpus == pytest.approx(sum(bundle["CPU"] for bundle in bundles))


def test_replicas_are_counted_at_their_least_and_at_their_most() -> None:
    both = settings(replicas={"min": 1, "max": 3})
    assert (len(parts(both, most=False)), len(parts(both, most=True))) == (1, 3)
    assert [len(wanted) for wanted in parts_while_replacing(both)] == [2]


def test_pods_are_filled_the_largest_parts_first() -> None:
    wanted = [Part("a", 1), Part("b", 6), Part("c", 1), Part("d", 2)]
    assert pack(wanted, [LARGE]).pods == {"large": 2}
    assert pack(wanted[:3], [LARGE]).pods == {"large": 1}


def test_parts_without_gpus_leave_gpus_alone_where_they_can() -> None:
    found = pack([Part("a", 2), Part("b", 2, 1)], [GPU, SMALL])
    assert found.pods == {"gpu": 1, "small": 1}
    assert pack([Part("a", 4), Part("b", 2, 1)], [GPU, SMALL]).pods == {"gpu": 2, "small": 0}


def test_what_fits_nowhere_is_left() -> None:
    assert pack([Part("a", 9)], [LARGE]).left == (Part("a", 9),)
    assert pack([Part("a", 2), Part("b", 2)], [SMALL], {"small": 1}).left == (Part("b", 2),)
    assert pack([Part("a", 1, 2)], [GPU]).left == (Part("a", 1, 2),)


def test_stages_that_have_to_be_apart_are() -> None:
    one = variant(stages={"count": 2, "placement": "strict-spread"}, cores=1)
    assert pack(replica_parts("m", one), [LARGE]).pods == {"large": 3}


def test_a_full_pod_has_no_room_for_the_process_that_feeds_stages() -> None:
    one = variant(stages=2)
    assert pack(replica_parts("m", one), [SMALL]).pods == {"small": 3}
    assert pack(replica_parts("m", one), [LARGE]).pods == {"large": 1}
