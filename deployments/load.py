"""What a replica tells of its load: to the front door, which chooses by it, and to the policy that scales by it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepCost:
    """Seconds of an engine's step: `base_s`, and `token_s` for each token in it. Both 0: not measured yet."""

    base_s: float = 0.0
    token_s: float = 0.0

    @property
    def known(self) -> bool:
        return self.base_s > 0 or self.token_s > 0

    def seconds(self, tokens: float) -> float:
        """Of a step of so many tokens."""
        return self.base_s + self.token_s * tokens


@dataclass(frozen=True, slots=True)
class Load:
    """One replica at one moment. Tokens are those of prompts and answers together where nothing else is said.

    Requests that run and that wait; tokens that the waiting ones are expected to want, and that all together still
    want; tokens of prompts whose answers have not begun. `tokens_per_s` of the last seconds, and how much of that was
    prompts. `capacity_tokens_per_s` with full batches of requests like the last ones; 0 while it was not measured. The
    engine runs `slots` requests at once, and has `places` for those and the ones that wait; a step has at most
    `step_tokens`. `output_tokens` is the mean of the last answers. `turned_away_per_s` are tokens that callers took
    elsewhere because this variant was full. `node` is where it computes.
    """

    replica: str
    running: int = 0
    waiting: int = 0
    waiting_tokens: float = 0.0
    left_tokens: float = 0.0
    prompt_tokens: int = 0
    tokens_per_s: float = 0.0
    prompt_per_s: float = 0.0
    capacity_tokens_per_s: float = 0.0
    slots: int = 1
    places: int = 1
    step_tokens: int = 1
    cost: StepCost = StepCost()
    output_tokens: float = 0.0
    turned_away_per_s: float = 0.0
    node: str = ""


def capacity(cost: StepCost, slots: int, prompt_tokens: float, output_tokens: float) -> float:
    """Tokens/s with full batches of requests of this size; 0 where the cost is not known."""
    alone_s = cost.token_s * prompt_tokens + output_tokens * cost.seconds(slots) / max(1, slots)
    tokens = prompt_tokens + output_tokens
    if not cost.known or tokens <= 0 or alone_s <= 0 or not math.isfinite(alone_s):
        return 0.0
    return tokens / alone_s
