"""Which resources a pipeline asks Ray for, and where they are to lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engine.errors import ConfigError

Strategy = Literal["pack", "spread", "strict-pack", "strict-spread"]

_RAY = {"pack": "PACK", "spread": "SPREAD", "strict-pack": "STRICT_PACK", "strict-spread": "STRICT_SPREAD"}


@dataclass(frozen=True, slots=True)
class Resources:
    """What one stage reserves; fractions are possible."""

    num_cpus: float = 1.0
    num_gpus: float = 0.0

    @property
    def bundle(self) -> dict[str, float]:
        """As Ray writes it, without what is zero. (Ray takes no bundle that is empty.)"""
        asked = {"CPU": self.num_cpus, "GPU": self.num_gpus}
        return {name: float(amount) for name, amount in asked.items() if amount > 0} or {"CPU": 0.001}


@dataclass(frozen=True, slots=True)
class Placement:
    """A placement group to be: the driver's bundle first, where it has one, then the stages' in their order."""

    bundles: tuple[Mapping[str, float], ...]
    strategy: str
    first_stage: int


def place(
    stages: int, resources: Resources, strategy: Strategy, driver: Mapping[str, float] | None = None
) -> Placement:
    """The placement of so many stages.

    `pack`: all on one node where there is room; `spread`: each on another node as far as there are nodes; `strict-...`:
    so or not at all. The driver, if it has a bundle, is one more to be placed. Raises ConfigError.
    """
    if stages < 1:
        raise ConfigError("A pipeline needs at least one stage.", param="stages")
    if resources.num_cpus < 0 or resources.num_gpus < 0:
        raise ConfigError("A stage cannot reserve less than nothing.", param="stages")
    if strategy not in _RAY:
        raise ConfigError(f"placement has to be one of {', '.join(_RAY)}, not {strategy}.", param="stages.placement")
    first = [] if driver is None else [{name: float(amount) for name, amount in driver.items()}]
    return Placement((*first, *[resources.bundle] * stages), _RAY[strategy], len(first))


def nodes_needed(stages: int, strategy: Strategy) -> int:
    """On how many nodes a pipeline has to be placed: its driver is on one of its own, too."""
    return stages + 1 if strategy == "strict-spread" else 1
