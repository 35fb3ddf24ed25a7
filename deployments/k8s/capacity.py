"""Which workers a configuration needs: what its replicas and stages reserve, packed into pods.

Each replica of one stage, and each stage of several, finds its place on one node. `strict-pack` wants all of a
replica's stages on one, `strict-spread` each on another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.pipeline.placement import nodes_needed
from deployments.settings import Settings, Variant

_NEAR = 1e-6  # cores are counted in fractions


@dataclass(frozen=True, slots=True)
class Part:
    """What has to lie on one node. Parts that have the same `apart` have to lie on different ones. Beside `staged`
    parts there has to be room for the process that feeds them (`feeds`), or that one takes a node of its own."""

    name: str
    cpus: float
    gpus: float = 0.0
    apart: str = ""
    staged: bool = False
    feeds: bool = False


@dataclass(frozen=True, slots=True)
class PodSize:
    """What one pod of a worker group offers to Ray."""

    group: str
    cpus: float
    gpus: float = 0.0


@dataclass(slots=True)
class _Bin:
    """What is left of a pod."""

    cpus: float
    gpus: float
    apart: set[str] = field(default_factory=set)

    def takes(self, part: Part) -> bool:
        fits = part.cpus <= self.cpus + _NEAR and part.gpus <= self.gpus + _NEAR
        return fits and not (part.apart and part.apart in self.apart)

    def put(self, part: Part) -> None:
        self.cpus -= part.cpus
        self.gpus -= part.gpus
        self.apart.add(part.apart)


@dataclass(frozen=True, slots=True)
class Packing:
    """Pods used by group, and the parts for which there is no place."""

    pods: Mapping[str, int]
    left: tuple[Part, ...]


def parts(settings: Settings, *, most: bool) -> list[Part]:
    """Of the replicas that always run, or of all at their most. Every variant has its `cores`."""
    found: list[Part] = []
    for name, variant in _variants(settings):
        for replica in range(variant.replicas.max if most else variant.replicas.min):
            found += replica_parts(name, variant, replica)
    return found


def parts_while_replacing(settings: Settings) -> list[list[Part]]:
    """Of the replicas that always run, while a changed configuration is taken over: a new one comes before an old one
    goes. For each variant by itself, for they can wait for each other."""
    always = parts(settings, most=False)
    return [
        always + replica_parts(name, variant, variant.replicas.max)
        for name, variant in _variants(settings)
        if variant.replicas.min
    ]


def _variants(settings: Settings) -> Iterator[tuple[str, Variant]]:
    for model in settings.models:
        for variant in model.variants:
            yield f"{model.name}:{variant.name}", variant


def replica_parts(name: str, variant: Variant, replica: int = 0) -> list[Part]:
    """Of one replica, as `deployments/app.py` has it reserve them (where all cores are reserved)."""
    assert variant.cores is not None
    stages = variant.stages
    cores, gpus = float(variant.cores), stages.num_gpus
    if stages.count == 1:
        return [Part(name, cores)]
    if stages.placement == "strict-pack":
        return [Part(name, stages.count * cores + stages.driver_cpus, stages.count * gpus, staged=True)]
    apart = f"{name}#{replica}" if nodes_needed(stages.count, stages.placement) > 1 else ""
    driver = Part(name, stages.driver_cpus, 0.0, apart, feeds=True)
    return [driver, *[Part(name, cores, gpus, apart, staged=True)] * stages.count]


def pack(wanted: Sequence[Part], sizes: Sequence[PodSize], counts: Mapping[str, int] | None = None) -> Packing:
    """The largest parts first, each into the first pod with room; what needs no GPU goes to pods without one where it
    can. `counts` limits the pods of groups, by name."""
    order = sorted(sizes, key=lambda size: size.gpus)  # keeps the order among equals
    bins: dict[str, list[_Bin]] = {size.group: [] for size in sizes}
    left: list[Part] = []
    for part in sorted(wanted, key=lambda part: (-part.gpus, -part.cpus)):
        if part.feeds and _put_beside(part, [one for used in bins.values() for one in used]):
            continue
        for size in order:
            most = math.inf if counts is None else counts.get(size.group, math.inf)
            if _put(part, size, bins[size.group], most):
                break
        else:
            left.append(part)
    return Packing({group: len(used) for group, used in bins.items()}, tuple(left))


def _put_beside(part: Part, bins: Sequence[_Bin]) -> bool:
    """Into any pod that is there already."""
    found = next((one for one in bins if one.takes(part)), None)
    if found is not None:
        found.put(part)
    return found is not None


def _put(part: Part, size: PodSize, bins: list[_Bin], most: float) -> bool:
    """Into one of a group's pods, or into one more of it."""
    if _put_beside(part, bins):
        return True
    fresh = _Bin(size.cpus, size.gpus)
    if not fresh.takes(part) or len(bins) >= most:
        return False
    bins.append(fresh)
    fresh.put(part)
    return True
