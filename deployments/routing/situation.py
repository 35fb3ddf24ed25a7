"""All that a decision was made from, kept to tell later why it was made. Plain, frozen data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.routing.choice import Candidate, Memory
from deployments.routing.prediction import Demand, Objective
from deployments.variants import Policy, VariantInfo


@dataclass(frozen=True, slots=True)
class Situation:
    """`variants` are all that the model has, `candidates` those that the request allows, best first, as they were at
    `now` by the router's clock, with what was remembered from before."""

    variants: Sequence[VariantInfo]
    candidates: Sequence[Candidate]
    demand: Demand
    objective: Objective
    memory: Memory
    now: float
    policy: Policy = "best"
    pinned: str | None = None
    min_quality: float | None = None
