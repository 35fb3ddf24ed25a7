"""What a variant's replicas told of their load, and what follows: its state, and its chances in a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from deployments.load import Load, StepCost
from deployments.routing.choice import Candidate
from deployments.routing.open_requests import Count
from deployments.routing.prediction import Pool
from deployments.variants import VariantInfo, VariantState

STALE_S = 0.25  # loads older than this are not gone by
GONE_S = 3.0  # a replica that has told nothing for so long counts no more
WAKING_S = 30.0  # a variant that was woken is starting for so long
PLACES = 320  # for requests, of a variant that has told nothing yet
TURNED_AWAY_S = 3.0  # in which half of the rate is forgotten at which requests were passed on


@dataclass(slots=True)
class Heard:
    """Of one variant. `mine` is what this front door sent there and has no answer to, `peak` the most of it that was
    open since the replicas were last asked, `beside` what they have from others."""

    mine: Count
    beside: Count = field(default_factory=Count)
    peak: int = 0
    told: dict[str, tuple[Load, float]] = field(default_factory=dict)  # by replica, with the time
    named: frozenset[str] | None = None  # the replicas that there were when all of them told
    quiet_s: float = float("-inf")  # when nothing was open there last
    woken_s: float = float("-inf")
    was_here: bool = False
    _turned_away: float = 0.0  # tokens/s, as of `_turned_s`
    _turned_s: float = 0.0

    @property
    def loads(self) -> list[Load]:
        return [load for load, _ in self.told.values()]

    @property
    def at_s(self) -> float:
        """As of when all of it is true."""
        return min((at_s for _, at_s in self.told.values()), default=float("-inf"))

    def hear(self, loads: Sequence[Load], at_s: float) -> None:
        """What all replicas told, as of then; none where there is no replica."""
        self.was_here = self.was_here or bool(loads)
        self.told = {load.replica: (load, at_s) for load in loads}
        self.named = frozenset(self.told)
        self._set_beside()
        self.peak = self.mine.open

    def hear_one(self, load: Load, at_s: float) -> None:
        """What one of them told. One that is not among them any more still answers, and takes nothing new."""
        if self.named is not None and load.replica not in self.named:
            return
        self.was_here = True
        self.told[load.replica] = (load, at_s)
        self._set_beside()

    def turn_away(self, tokens: float, now: float) -> float:
        """Counts tokens of a request that went to another variant, as this one was full; all of them, in tokens/s."""
        kept = 0.5 ** ((now - self._turned_s) / TURNED_AWAY_S)
        self._turned_away = self._turned_away * kept + tokens * 0.693 / TURNED_AWAY_S
        self._turned_s = now
        return self._turned_away

    def seen(self, variant: VariantInfo, now: float) -> VariantInfo:
        """The variant in the state that it is in."""
        self._forget(now)
        answers = now - self.at_s <= GONE_S
        state: VariantState
        if answers:
            state = "ready"
        elif variant.may_sleep:
            state = "starting" if self.mine.open or now - self.woken_s < WAKING_S else "asleep"
        else:
            state = "unavailable" if self.was_here else "starting"
        return replace(variant, state=state, replicas=len(self.told) if answers else 0)

    def candidate(self, variant: VariantInfo, now: float) -> Candidate:
        """The variant as a decision sees it."""
        self._forget(now)
        mine = self.mine
        if not self.told:
            # Never heard of: nothing speaks against it, and it is measured as soon as it has work.
            pool = Pool(open=mine.open, begun=mine.begun, prompt_tokens=mine.prompt_tokens, places=PLACES, slots=PLACES)
            return Candidate(variant.name, variant.state, mine.open, PLACES, pool, variant.speedup)
        shared = frozenset(load.node for load in self.loads) if variant.shares else frozenset()
        pool = pool_of(self.loads, mine, self.beside)
        # A variant without work need not tell anything: its load is known.
        age_s = now - max(self.at_s, self.quiet_s if mine.open else now)
        stale = age_s > STALE_S
        open_ = mine.open if stale else pool.open
        known = None if stale else pool
        return Candidate(variant.name, variant.state, open_, pool.places, known, variant.speedup, shared)

    def _forget(self, now: float) -> None:
        """Drops replicas that have been silent for long, unless all are: one that hangs must not hide the others."""
        fresh = {replica: told for replica, told in self.told.items() if now - told[1] <= GONE_S}
        if fresh:
            self.told = fresh

    def _set_beside(self) -> None:
        """What was told may be from before requests of ours ended, which are not others' then."""
        loads, mine = self.loads, self.mine
        open_ = max(0, sum(load.running + load.waiting for load in loads) - max(mine.open, self.peak))
        self.beside = Count(
            open_,
            min(open_, max(0, sum(load.running for load in loads) - mine.begun)),
            max(0, sum(load.prompt_tokens for load in loads) - mine.prompt_tokens) if open_ else 0,
        )


def queued(one: Candidate) -> bool:
    """Whether requests wait at a variant."""
    return one.pool is not None and one.open >= one.pool.slots * one.pool.replicas


def pool_of(loads: Sequence[Load], mine: Count, beside: Count) -> Pool:
    """The replicas of a variant as one. Costs are means, for each gets as much as the others."""
    count = len(loads)
    known = [load.cost for load in loads if load.cost.known]
    cost = StepCost(
        sum(one.base_s for one in known) / len(known) if known else 0.0,
        sum(one.token_s for one in known) / len(known) if known else 0.0,
    )
    return Pool(
        replicas=count,
        open=mine.open + beside.open,
        begun=mine.begun + beside.begun,
        prompt_tokens=mine.prompt_tokens + beside.prompt_tokens,
        places=sum(load.places for load in loads),
        prompt_per_s=sum(load.prompt_per_s for load in loads),
        slots=loads[0].slots,
        step_tokens=loads[0].step_tokens,
        cost=cost,
        output_tokens=sum(load.output_tokens for load in loads) / count,
    )
