"""One model on one node or on several: what is to be served there, on which cores, and where it really runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from deployments.settings import Model, Replicas, Settings, Stages, Variant
from engine.errors import ConfigError

How = Literal["stages", "replicas", "baseline"]


@dataclass(frozen=True, slots=True)
class Shape:
    """So many nodes with a stage each, or with a replica each. On one node both are the same: one process. "baseline":
    a replica of the plain baseline each."""

    nodes: int
    how: How = "replicas"

    @property
    def name(self) -> str:
        if self.how == "baseline":
            return f"baseline on {self.nodes}"
        return "one process" if self.nodes == 1 else f"{self.nodes} {self.how}"

    @property
    def staged(self) -> bool:
        return self.how == "stages" and self.nodes > 1


@dataclass(frozen=True, slots=True)
class Place:
    """The node of a replica's own process, and those of what computes: its stages, or itself."""

    driver: str
    parts: tuple[str, ...]

    def named(self, names: Mapping[str, str]) -> Place:
        """With names for addresses."""
        return Place(names.get(self.driver, self.driver), tuple(names.get(part, part) for part in self.parts))


@dataclass(frozen=True, slots=True)
class Share:
    """What each node has of the machine: `threads` of each process, and cores that it keeps to, by node in order."""

    threads: int
    cores: tuple[tuple[int, ...], ...]

    @property
    def apart(self) -> bool:
        """Whether each node has cores of its own."""
        return len(set(self.cores)) == len(self.cores)


def shapes(counts: Sequence[int]) -> list[Shape]:
    """All that is measured on so many nodes, and on so many. One node is always among them: others are held against
    it."""
    kinds: tuple[How, ...] = ("stages", "replicas")
    return [Shape(1), *(Shape(count, how) for count in sorted(set(counts) - {1}) for how in kinds)]


def share(cores: Sequence[int], nodes: int) -> Share:
    """Equal parts of these cores for each node. Where they cannot be divided, or are too few, all nodes share them,
    with as many threads as an equal part has, rounded down, and one at least."""
    threads = max(1, len(cores) // nodes)
    if len(cores) % nodes:
        return Share(threads, (tuple(cores),) * nodes)
    return Share(threads, tuple(tuple(cores[node * threads : (node + 1) * threads]) for node in range(nodes)))


def choose(settings: Settings, asked: str) -> tuple[Model, Variant]:
    """The model (or model:variant) that was asked for, else the first that generates; its first variant. Raises
    ConfigError."""
    name, _, wanted = asked.partition(":")
    models = [one for one in settings.models if (one.name == name if name else one.task == "text-generation")]
    variants = [one for model in models[:1] for one in model.variants if not wanted or one.name == wanted]
    if not variants:
        known = ", ".join(f"{one.name}:{variant.name}" for one in settings.models for variant in one.variants)
        raise ConfigError(f"Which model? There is no {asked or 'one that generates'} among {known}.", param="model")
    return models[0], variants[0]


def configuration(model: Model, variant: Variant, shape: Shape, threads: int) -> str:
    """The file that serves this variant alone in this shape."""
    count = 1 if shape.staged else shape.nodes
    given = variant.model_dump(mode="json", exclude_unset=True, exclude={"stages"})
    given |= {"replicas": Replicas(min=count, max=count), "cores": threads}
    if shape.staged:
        given["stages"] = Stages(count=shape.nodes)
    return file_of([model.model_copy(update={"variants": (Variant(**given),)})])


def file_of(models: Sequence[Model], others: Settings | None = None) -> str:
    """A configuration file with these models, and with what `others` set beside theirs."""
    data: dict[str, Any] = {"models": [model.model_dump(mode="json", exclude_unset=True) for model in models]}
    if others is not None:
        data |= others.model_dump(mode="json", exclude_unset=True, exclude={"models"})
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def running(status: Mapping[str, Any], model: str) -> list[Place]:
    """From `GET /status`: where each replica is that is ready, with all its stages."""
    replicas = [
        replica
        for shown in status["models"]
        if shown["name"] == model
        for variant in shown["variants"]
        for replica in variant["replicas"]
    ]
    found = []
    for replica in replicas:
        parts = replica.get("stages") or [replica]
        if replica["state"] == "ready" and all(part["state"] == "ready" for part in parts):
            found.append(Place(str(replica["node"]), tuple(str(part["node"]) for part in parts)))
    return found


def misplaced(found: Sequence[Place], shape: Shape) -> str | None:
    """What is not as it was asked for, in words; None where all is."""
    replicas, stages = (1, shape.nodes) if shape.staged else (shape.nodes, 1)
    if [len(place.parts) for place in found] != [stages] * replicas:
        has = ", ".join(str(len(place.parts)) for place in found) or "none"
        return f"{replicas} ready replicas of {stages} stages were asked for, and there are replicas of: {has}"
    computing = {node for place in found for node in place.parts}
    nodes = computing | {place.driver for place in found}
    if len(computing) != shape.nodes or nodes != computing:
        return f"{shape.name} run on {', '.join(sorted(nodes))}: not on {shape.nodes} nodes with one each"
    return None
