"""Where a pipeline's processes are placed, as Ray's placement groups want it: pure functions of the settings."""

from __future__ import annotations

STRATEGIES = {"pack": "PACK", "spread": "SPREAD", "strict-pack": "STRICT_PACK", "strict-spread": "STRICT_SPREAD"}
"""By the names of the settings. PACK and SPREAD are wishes, the strict ones conditions."""


def bundles(stages: int, cpus: float, gpus: float, driver_cpus: float) -> list[dict[str, float]]:
    """What is set aside: first for the process that feeds the stages, then for each of `stages`, `cpus` and `gpus`.

    Every bundle has to hold something, so `driver_cpus` and one of the others must be above 0.
    """
    assert stages >= 1
    stage = {name: amount for name, amount in (("CPU", cpus), ("GPU", gpus)) if amount > 0}
    assert stage
    assert driver_cpus > 0
    return [{"CPU": driver_cpus}, *(dict(stage) for _ in range(stages))]


def stage_bundle(stage: int) -> int:
    """The index of a stage's bundle."""
    return stage + 1


def strategy(placement: str) -> str:
    """Ray's name for how bundles are placed relative to each other."""
    return STRATEGIES[placement]


def nodes_needed(stages: int, placement: str) -> int:
    """On how many nodes a pipeline has to be placed: the process that feeds the stages is on one of its own, too."""
    return stages + 1 if placement == "strict-spread" else 1
