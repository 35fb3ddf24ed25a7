"""One model's routing: what was heard of its replicas, what was sent to them, and the decisions made from both."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from deployments.load import Load
from deployments.routing.choice import Candidate, Decision, Memory, choose, overloaded, prefer
from deployments.routing.fairness import Held, may_add
from deployments.routing.heard import Heard, queued
from deployments.routing.open_requests import OpenRequests, Ticket
from deployments.routing.prediction import Demand, Objective
from deployments.routing.situation import Situation
from deployments.routing.undisturbed import Undisturbed, look, with_costs
from deployments.variants import Policy, VariantInfo, allowed
from engine.errors import CallerOverShare

EXPECTED_OUTPUT = 128.0  # tokens, while no replica has told its mean


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request says about who shall answer, and whose it is. `only` are the variants that its caller may use,
    None for all, and `weight` is what the caller may hold against others."""

    demand: Demand
    pinned: str | None = None
    min_quality: float | None = None
    policy: Policy = "best"
    caller: str = ""
    weight: float = 1.0
    only: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The preferred variant changed."""

    model: str
    before: str
    after: str
    cause: str


class Router:
    """Used by one event loop.

    `on_step` is told when the preferred variant changes, `on_sent` which variant a request goes to, and `wake` which
    sleeping variant to start.
    """

    def __init__(
        self,
        model: str,
        variants: Sequence[VariantInfo],
        objective: Objective,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self.objective = objective
        self.on_step: Callable[[Step], None] = lambda step: None
        self.on_sent: Callable[[str], None] = lambda variant: None
        self.wake: Callable[[str], None] = lambda variant: None
        self.steps: Counter[tuple[str, str, str]] = Counter()  # by the variants before and after, and the cause
        self.resumptions: Counter[tuple[str, str]] = Counter()  # streams that went on elsewhere: by variant and cause
        self.memory = Memory()
        self._undisturbed: Mapping[str, Undisturbed] = {}  # by variant
        self.counts = OpenRequests()
        self._variants = {variant.name: variant for variant in variants}
        self._heard = {variant.name: Heard(self.counts.of(variant.name)) for variant in variants}
        self._clock = clock

    @property
    def variants(self) -> tuple[VariantInfo, ...]:
        """In the configuration's order, each in its state."""
        return tuple(self._variants.values())

    @property
    def preferred(self) -> str | None:
        """The variant that takes all requests that ask for nothing special, None before the first of them."""
        return self.memory.preferred

    @property
    def pressed(self) -> frozenset[str]:
        """The variants that had to pass requests on of late, and take new ones only up to a part of the objective."""
        now = self._clock()
        return frozenset(name for name, pressure in self.memory.pressed.items() if pressure.holds(now))

    def choose(self, ask: Ask, note: Callable[[Situation], None] = lambda _: None) -> tuple[Decision, Ticket]:
        """The variant that answers, with the request counted as sent to it; close the ticket when it has ended. `note`
        is told what the decision is made from.

        Raises ModelNotFound, InvalidRequest, CallerOverShare, and Overloaded where all variants are full.
        """
        now = self._clock()
        variants = self.variants
        open_to = variants if ask.only is None else [one for one in variants if one.name in ask.only]
        good = allowed(self.model, open_to, ask.pinned, ask.min_quality)
        candidates = self._candidates(good, now)
        note(
            Situation(
                variants,
                candidates,
                ask.demand,
                self.objective,
                self.memory,
                now,
                ask.policy,
                ask.pinned,
                ask.min_quality,
            )
        )
        tokens = self._tokens(ask.demand, good)
        self._check_share(ask, candidates, tokens)
        decision, self.memory = choose(
            candidates,
            ask.demand,
            self.objective,
            self.memory,
            now,
            policy=ask.policy,
            pinned=ask.pinned is not None,
        )
        if decision.wake is not None:
            self._heard[decision.wake].woken_s = now
            self.wake(decision.wake)
        if ask.pinned is None and ask.policy == "best":
            for name in decision.full[:1]:  # the best of them is the one that it would have needed more of
                self._heard[name].turn_away(tokens, now)
        self.look(now)
        if not self.counts.of(decision.variant).open:
            self._heard[decision.variant].quiet_s = now
        self.on_sent(decision.variant)
        heard = self._heard[decision.variant]
        ticket = Ticket(heard.mine, ask.caller, ask.demand, tokens)
        heard.peak = max(heard.peak, heard.mine.open)
        return decision, ticket

    def expected_tokens(self, demand: Demand) -> float:
        """That a request will probably use, prompt and answer."""
        return self._tokens(demand, self.variants)

    def look(self, now: float | None = None) -> None:
        """Sees whether the preferred variant is another one by now."""
        now = self._clock() if now is None else now
        order = sorted(self.variants, key=lambda variant: -variant.quality)
        candidates = [Candidate(one.name, one.state, 0, 1, None) for one in order]
        before = self.memory.preferred
        self.memory = prefer(candidates, self.memory, now)
        after = self.memory.preferred
        if before is not None and after is not None and before != after:
            self.steps[before, after, self.memory.cause] += 1
            self.on_step(Step(self.model, before, after, self.memory.cause))

    def asking(self, variant: str) -> None:
        """A variant's replicas are about to be asked for their load."""
        heard = self._heard[variant]
        heard.peak = heard.mine.open

    def hear(self, variant: str, loads: Sequence[Load] | None, age_s: float = 0.0) -> None:
        """Takes the loads that a variant's replicas told, at most so long ago: none where it has no replica, None where
        none answered."""
        now = self._clock()
        if loads is not None:
            self._heard[variant].hear(loads, now - age_s)
        self._see(variant, now)

    def hear_one(self, variant: str, load: Load) -> None:
        """Takes the load of one replica, which came with an answer just now."""
        now = self._clock()
        self._heard[variant].hear_one(load, now)
        if self._variants[variant].state != "ready":
            self._see(variant, now)

    def age_s(self, variant: str) -> float:
        """Of what is known of the variant's load."""
        return self._clock() - self._heard[variant].at_s

    def turned_away_per_s(self, variant: str) -> float:
        """Tokens/s of requests that would have gone to the variant and went to another, as it was full."""
        return self._heard[variant].turn_away(0.0, self._clock())

    def busy(self, variant: str) -> bool:
        """Whether anything was sent to it that is not answered."""
        return self.counts.of(variant).open > 0

    def idle(self, variant: str) -> bool:
        """Whether it answers, and has nothing to do, of ours or of anybody's."""
        heard = self._heard[variant]
        return self._variants[variant].state == "ready" and not heard.mine.open and not heard.beside.open

    def _candidates(self, good: Sequence[VariantInfo], now: float) -> list[Candidate]:
        """Of the allowed variants. Those that are not have work on the same cores, too."""
        best_first = sorted(self.variants, key=lambda variant: -variant.quality)
        found = [self._heard[variant.name].candidate(variant, now) for variant in best_first]
        if any(one.shared for one in found):
            self._undisturbed = look(self._undisturbed, found, now)
            found = with_costs(found, self._undisturbed, now)
        by_name = {one.name: one for one in found}
        return [by_name[variant.name] for variant in good]

    def _see(self, variant: str, now: float) -> None:
        self._variants[variant] = self._heard[variant].seen(self._variants[variant], now)

    def _tokens(self, demand: Demand, good: Sequence[VariantInfo]) -> float:
        """That a request is expected to want."""
        told = [load.output_tokens for one in good for load in self._heard[one.name].loads if load.output_tokens]
        expected = sum(told) / len(told) if told else EXPECTED_OUTPUT
        return demand.prompt_tokens + demand.count * min(float(demand.most_tokens), expected)

    def _check_share(self, ask: Ask, candidates: Sequence[Candidate], tokens: float) -> None:
        """Raises CallerOverShare."""
        ready = [one for one in candidates if one.state == "ready"]
        if not all(map(queued, ready)) or all(one.open >= one.places for one in ready):
            return  # nobody waits, or there is no place for anybody
        callers = [self.counts.of(one.name).callers for one in ready]
        mine = [found[ask.caller] for found in callers if ask.caller in found]
        everybody = [work for found in callers for work in found.values()]
        places = sum(one.places for one in ready)
        requests, held = sum(work.requests for work in everybody), sum(work.tokens for work in mine)
        open_ = sum(one.open for one in ready)  # those that other front doors sent take up room, too
        by_count = Held(sum(work.requests for work in mine), open_, places)
        # In requests of average size: who wants more for each may have fewer of them open.
        size = sum(work.tokens for work in everybody) / requests if requests else 0.0
        by_tokens = Held(held / size, open_, places) if size else by_count
        if may_add(by_count, 1, ask.weight) and may_add(by_tokens, tokens / size if size else 0.0, ask.weight):
            return
        if len({caller for found in callers for caller in found}) == 1:
            raise overloaded(ready, ask.demand, self.objective)  # there is nobody to share with: the room is used up
        speed = sum(load.tokens_per_s for one in ready for load in self._heard[one.name].loads)
        wait_s = min(max(1.0, held / speed / 2 if speed > 0 else 1.0), 60.0)
        raise CallerOverShare(
            "Requests wait for this model, and the open ones of yours take up your share of the room. Wait until some "
            f"are answered, or try again in {wait_s:.0f} s.",
            retry_after_s=wait_s,
        )
