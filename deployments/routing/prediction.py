"""How long a request would take on a variant, from what its replicas measured and what is on its way to them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from deployments.load import StepCost

UNMEASURED = StepCost()
MOST_PREFILL = 0.9  # of the time; more cannot go on for long, and shows as a queue


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks for: `count` answers (or texts) whose prompts have `prompt_tokens` together, of at most
    `most_tokens` each, 0 where nothing is written token by token."""

    prompt_tokens: int
    most_tokens: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True)
class Objective:
    """What is promised, in seconds: until the first token (`token_s` given) or the whole answer (None), and for each
    token after the first."""

    first_s: float
    token_s: float | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds until the first token or, where the objective is for whole answers, the whole one; and for each token."""

    first_s: float
    token_s: float = 0.0

    def share_of(self, objective: Objective, alone: Prediction | None = None) -> float:
        """How much of the objective is used: up to 1 it is met. With `alone`, of what the load adds to that."""
        first, token = (0.0, 0.0) if alone is None else (alone.first_s, alone.token_s)
        used = (self.first_s - first) / objective.first_s
        return used if objective.token_s is None else max(used, (self.token_s - token) / objective.token_s)

    def cause(self, objective: Objective) -> str:
        """Which part of the objective is the furthest off."""
        if objective.token_s is None:
            return "latency"
        return "ttft" if self.first_s / objective.first_s >= self.token_s / objective.token_s else "tpot"


@dataclass(frozen=True, slots=True)
class Pool:
    """A variant's replicas as one: sums over `replicas`, also of what was sent to them and is not in their reports yet.

    Requests that are `open`, of which `begun` have their first token; prompt tokens that are not computed; places for
    requests; prompt tokens/s that come in. What one replica is like: `slots`, `step_tokens`, `cost` and
    `output_tokens` as in `Load`.
    """

    replicas: int = 1
    open: int = 0
    begun: int = 0
    prompt_tokens: float = 0.0
    places: int = 1
    prompt_per_s: float = 0.0
    slots: int = 1
    step_tokens: int = 1
    cost: StepCost = UNMEASURED
    output_tokens: float = 0.0

    @property
    def alone(self) -> Pool:
        """The same without anything to do."""
        return Pool(
            self.replicas,
            places=self.places,
            slots=self.slots,
            step_tokens=self.step_tokens,
            cost=self.cost,
            output_tokens=self.output_tokens,
        )


def together(pool: Pool, others: Iterable[Pool]) -> Pool:
    """With all that is open at others, as if it was here: others that compute on the same cores."""
    for other in others:
        pool = _with(pool, other)
    return pool


def _with(pool: Pool, other: Pool) -> Pool:
    """Requests that run there are as many here as write as many tokens/s in steps of the cost that these have here."""
    running = min(float(other.open), other.slots * max(1, other.replicas))
    here = running
    if running and pool.cost.known and other.cost.known:
        replicas = max(1, pool.replicas)
        tokens_per_s = running / other.cost.seconds(running / max(1, other.replicas))
        here = min(replicas * rows_for(tokens_per_s / replicas, pool.cost), float(pool.slots * replicas))
    begun = other.begun * here / running if running else 0.0
    return replace(
        pool,
        open=pool.open + math.ceil(here) + other.open - int(running),
        begun=pool.begun + math.ceil(min(here, begun)),
        prompt_tokens=pool.prompt_tokens + other.prompt_tokens,
        prompt_per_s=pool.prompt_per_s + other.prompt_per_s,
    )


def rows_for(tokens_per_s: float, cost: StepCost) -> float:
    """Tokens of a step where so many a second are written; infinite where no step is quick enough."""
    left = 1.0 - tokens_per_s * cost.token_s
    return tokens_per_s * cost.base_s / left if left > 0 else math.inf


def predict(pool: Pool, demand: Demand, objective: Objective) -> Prediction:
    """On the variant's average replica, for Serve spreads requests evenly. Where nothing was measured, no time at all:
    with work it will be."""
    cost, replicas = pool.cost, max(1, pool.replicas)
    writes = demand.most_tokens > 0
    output = min(float(demand.most_tokens), pool.output_tokens)
    ahead = pool.prompt_tokens / replicas
    came = pool.open / replicas
    rows = min(pool.slots, pool.begun / replicas) if writes else 0.0
    tokens = ahead + demand.prompt_tokens
    # Those that write take their token in each step; prompts share the rest of it.
    steps = max(1, math.ceil(tokens / max(1.0, pool.step_tokens - rows)))
    first_s = steps * cost.seconds(rows) + tokens * cost.token_s
    if not writes:
        return Prediction(first_s)
    over = came + demand.count - pool.slots
    if over > 0:  # as many must end first; with full slots they end at this rate
        first_s += over * pool.output_tokens * cost.seconds(pool.slots) / pool.slots
    full = min(float(pool.slots), came + demand.count)
    prefill = min(MOST_PREFILL, pool.prompt_per_s / replicas * cost.token_s)
    token_s = cost.seconds(full) / (1.0 - prefill)
    if objective.token_s is None:
        return Prediction(first_s + output * token_s, token_s)
    return Prediction(first_s, token_s)
