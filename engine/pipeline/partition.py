"""Which stage computes which layers: an exact, deterministic choice from costs that were measured, or the given one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Cost:
    """What a part of a model takes: time for a piece of work, in seconds, and memory, in bytes."""

    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Device:
    """Where a stage runs. `memory` in bytes, None where nothing bounds it; `speed` relative to the others'."""

    memory: int | None = None
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Of a whole model: each layer's, and what the stage with the first (embedding) and the one with the last (final
    norm, head) have beside. A table that is both embedding and head counts for both: two stages hold two."""

    layers: tuple[Cost, ...]
    first: Cost
    last: Cost

    def stage(self, start: int, end: int, device: Device) -> Cost:
        """Of layers `start` to `end` - 1 on that device."""
        parts = list(self.layers[start:end])
        if start == 0:
            parts.append(self.first)
        if end == len(self.layers):
            parts.append(self.last)
        # The exact sum: equal layers take equally long wherever they stand.
        seconds = math.fsum(part.seconds for part in parts) / device.speed
        return Cost(seconds, sum(part.bytes for part in parts))

    def with_caches(self, sizes: Sequence[int]) -> Costs:
        """With so many bytes more for each layer."""
        pairs = zip(self.layers, sizes, strict=True)
        layers = tuple(Cost(layer.seconds, layer.bytes + size) for layer, size in pairs)
        return Costs(layers, self.first, self.last)

    def stages(self, boundaries: Sequence[int], devices: Sequence[Device]) -> tuple[Cost, ...]:
        """Of each stage."""
        return tuple(self.stage(*ends, device) for ends, device in zip(pairwise(boundaries), devices, strict=True))


Choice = tuple[tuple[float, ...], tuple[int, ...]]
"""The times of some stages, the slowest first, and where they begin and end. Of two choices the smaller is better."""


def partition(costs: Costs, devices: Sequence[Device]) -> tuple[int, ...]:
    """Boundaries of the stages, one more than `devices`: stage i computes layers b[i] to b[i + 1] - 1, at least one.

    The slowest stage is as fast as it can be where each fits its device; then the second slowest, and so on. Of equal
    choices it is the one whose earlier stages are shorter. Raises ConfigError where there are more stages than layers,
    or where the memory does not suffice.
    """
    layers, stages = len(costs.layers), len(devices)
    check_count(stages, layers)
    # The best choice for the first stages by the number of layers that they hold. Adding a stage to both of two choices
    # leaves the better one better, so that one is enough.
    best: dict[int, Choice] = {0: ((), (0,))}
    for index, device in enumerate(devices):
        rest = stages - index - 1
        longer: dict[int, Choice] = {}
        for start, (times, boundaries) in best.items():
            for end in range(start + 1, layers - rest + 1) if rest else (layers,):
                stage = costs.stage(start, end, device)
                if device.memory is not None and stage.bytes > device.memory:
                    continue
                found = tuple(sorted((*times, stage.seconds), reverse=True)), (*boundaries, end)
                longer[end] = min(found, longer.get(end, found))
        best = longer
    if layers not in best:
        raise _too_little_memory(costs, devices)
    return best[layers][1]


def given_boundaries(balance: Sequence[int], layers: int, stages: int | None = None) -> tuple[int, ...]:
    """The same for a `balance` that somebody chose, the number of layers of each stage. Raises ConfigError where it
    does not fit the model or the number of stages."""
    shown = list(balance)
    if not balance or min(balance) < 1:
        raise ConfigError(f"balance {shown}: each stage needs at least one layer", param="balance")
    if stages is not None and len(balance) != stages:
        raise ConfigError(
            f"balance {shown} is for {len(balance)} stages and there are {stages}: give one number for each stage",
            param="balance",
        )
    if sum(balance) != layers:
        raise ConfigError(
            f"balance {shown} places {sum(balance)} layers and the model has {layers}: the numbers must add up to that",
            param="balance",
        )
    return tuple(accumulate(balance, initial=0))


def check_count(stages: int, layers: int) -> None:
    """Raises ConfigError where a stage would have no layer."""
    if not 1 <= stages <= layers:
        raise ConfigError(
            f"{stages} stages are not possible: the model has {layers} layers, and each stage needs at least one",
            param="stages",
        )


def _too_little_memory(costs: Costs, devices: Sequence[Device]) -> ConfigError:
    needed = sum(part.bytes for part in (costs.first, *costs.layers, costs.last)) / 2**20
    given = ", ".join("any memory" if one.memory is None else f"{one.memory / 2**20:.0f} MiB" for one in devices)
    return ConfigError(
        f"the model takes {needed:.0f} MiB and cannot be shared among stages with {given}: use more stages, more "
        "memory for each, a smaller kv_cache, or a precision of fewer bits",
        param="stages",
    )
