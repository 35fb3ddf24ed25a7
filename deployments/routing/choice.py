"""Which variant answers a request: the best one that is predicted to meet the objective. Pure.

Each request is decided by itself, with all counted that was sent before it. So a variant fills up to what it can take
and the rest goes to the next one: under constant load the shares are constant, and there is nothing that could swing.
A variant that had to pass requests on is `pressed`: it takes new ones only up to `EASED` of the objective until, for
some time, none had to be passed on for that. The two thresholds keep it from running at its edge, and keep the
preferred variant, which is told to operators, from flapping.

Variants that share cores slow each other: two half-filled batches are less than one. So each of them is predicted as if
it had all that is open at all of them, and one that is pressed takes nothing at all beside one that would do better.
See docs/adr/0009.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from deployments.routing.prediction import Demand, Objective, Pool, Prediction, predict, together
from deployments.variants import Policy, VariantState
from engine.errors import Overloaded

EASED = 0.8  # of the objective: what a pressed variant may use
BALANCED = 0.5  # of the objective: what the policy "balanced" lets a variant use
HOLD_S = 5.0  # a variant stays pressed for so long after the last request that it passed on
MOST_HOLD_S = 80.0  # doubled up to this where it is pressed again soon after it was let go
SOON_S = 60.0
FASTER = 1.1  # times as fast: a variant that is worth starting beside another
LEAST_RETRY_S, MOST_RETRY_S = 1.0, 60.0

Reason = Literal["pinned", "objective", "least_bad", "fast", "stale", "waking"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant that may answer, in order of quality. `pool` None: its load is not known, or too old to go by; `open`
    is then all that is known: requests sent to it and not answered, of `places`. `speedup`: how many times as fast as
    fp32 it was measured to be, with many requests at once. `shared`: the nodes whose cores it shares with variants that
    name the same ones; none where its cores are its own."""

    name: str
    state: VariantState
    open: int
    places: int
    pool: Pool | None
    speedup: float | None = None
    shared: frozenset[str] = frozenset()

    def beside(self, other: Candidate) -> bool:
        """Whether both compute on the same cores."""
        return self is not other and bool(self.shared) and self.shared == other.shared


@dataclass(frozen=True, slots=True)
class Pressure:
    """A variant passed requests on: last at `since_s`, and is pressed for `hold_s` from then on."""

    since_s: float
    hold_s: float = HOLD_S

    def holds(self, now: float) -> bool:
        return now < self.since_s + self.hold_s


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of a model between requests: pressed variants, the preferred one, and why it is that one."""

    pressed: Mapping[str, Pressure] = field(default_factory=dict)
    preferred: str | None = None
    cause: str = "start"


@dataclass(frozen=True, slots=True)
class Decision:
    """`variant` answers, and `wake` is to be started beside it. `full` variants would have been better ones, were it
    not for their load."""

    variant: str
    reason: Reason
    wake: str | None = None
    full: tuple[str, ...] = ()


def choose(
    candidates: Sequence[Candidate],
    demand: Demand,
    objective: Objective,
    memory: Memory,
    now: float,
    *,
    policy: Policy = "best",
    pinned: bool = False,
) -> tuple[Decision, Memory]:
    """The variant, and what to remember. `candidates` are all that the request allows, best first: with `pinned` one.

    Raises Overloaded where all have as many requests as they take, and ValueError without candidates.
    """
    if not candidates:
        raise ValueError("no variant is allowed")
    ready = [one for one in candidates if one.state == "ready"]
    wake = _to_wake(candidates, ready)
    if not ready:
        first = next((one for one in candidates if one.state == "starting" or one.name == wake), candidates[0])
        _check_room([first], demand, objective)
        return Decision(first.name, "pinned" if pinned else "waking", wake=wake), memory
    free = _check_room(ready, demand, objective)
    if pinned:
        return Decision(free[0].name, "pinned"), memory
    known = predictions(free, ready, demand, objective)
    if not known:
        return Decision(_fewest(free).name, "stale"), memory
    alone = {one.name: predict(one.pool.alone, demand, objective) for one in free if one.pool is not None}
    beyond, used = shares(known, alone, objective)
    if policy == "fast":
        name = min(used, key=lambda name: used[name])  # the first, which is the best, of equals
        return Decision(name, "fast"), memory
    passed: list[str] = []
    chosen: str | None = None
    for one in free:
        name = one.name
        if name not in used:
            continue
        if used[name] > most_share(name, policy, memory, now):
            passed.append(name)
        elif not gives_way(one, free, used, memory, now):
            chosen = name
            break
    # What no load made slow does not tell of load.
    full = [name for name in passed if beyond or alone[name].share_of(objective) <= EASED]
    if policy == "best":
        causes = {name: known[name].cause(objective) for name in full}
        memory = replace(
            memory, pressed=_pressed(memory.pressed, full, now), cause=next(iter(causes.values()), memory.cause)
        )
    if chosen is not None:
        return Decision(chosen, "objective", full=tuple(full)), memory
    if len(known) < len(free):  # of the others nothing is known but what was sent to them
        name = _fewest(free).name
        return Decision(name, "stale", wake, tuple(one for one in full if one != name)), memory
    name = min(used, key=lambda name: used[name])
    return Decision(name, "least_bad", wake, tuple(one for one in full if one != name)), memory


def prefer(candidates: Sequence[Candidate], memory: Memory, now: float) -> Memory:
    """With the preferred variant as it is now: the best that is ready and not pressed, else the last that is ready."""
    ready = [one.name for one in candidates if one.state == "ready"]
    if not ready:
        return memory
    pressed = {name for name, pressure in memory.pressed.items() if pressure.holds(now)}
    name = next((name for name in ready if name not in pressed), ready[-1])
    if name == memory.preferred:
        return memory
    order = [one.name for one in candidates]
    before = memory.preferred
    if before is None:
        cause = "start"
    elif before not in ready:
        cause = "unavailable"
    elif before in order and order.index(name) < order.index(before):
        cause = "recovered"
    else:
        cause = memory.cause
    return replace(memory, preferred=name, cause=cause)


def predictions(
    free: Sequence[Candidate], ready: Sequence[Candidate], demand: Demand, objective: Objective
) -> dict[str, Prediction]:
    """Of those that are `free` and whose load is known, with that of all that are `ready` on the same cores."""
    found = {}
    for one in free:
        if one.pool is not None:
            others = [other.pool for other in ready if one.beside(other) and other.pool is not None]
            found[one.name] = predict(together(one.pool, others), demand, objective)
    return found


def shares(
    known: Mapping[str, Prediction], alone: Mapping[str, Prediction], objective: Objective
) -> tuple[bool, dict[str, float]]:
    """How much of the objective each uses. A request that would take too long anywhere, which comes first, is judged by
    what the load adds to what it takes `alone`."""
    beyond = all(one.share_of(objective) > 1 for one in alone.values())
    return beyond, {name: one.share_of(objective, alone[name] if beyond else None) for name, one in known.items()}


def most_share(name: str, policy: Policy, memory: Memory, now: float) -> float:
    """Of the objective, that a variant may use."""
    return (BALANCED if policy == "balanced" else 1.0) * (EASED if is_eased(name, memory, now) else 1.0)


def is_eased(name: str, memory: Memory, now: float) -> bool:
    """Whether it passed requests on a short time ago."""
    pressure = memory.pressed.get(name)
    return pressure is not None and pressure.holds(now)


def gives_way(one: Candidate, free: Sequence[Candidate], used: Mapping[str, float], memory: Memory, now: float) -> bool:
    """Whether a pressed variant leaves its cores to a quicker one that computes on the same."""
    return is_eased(one.name, memory, now) and any(
        one.beside(other) and used.get(other.name, math.inf) < used[one.name] for other in free
    )


def _check_room(ready: Sequence[Candidate], demand: Demand, objective: Objective) -> list[Candidate]:
    """Those that take one more request."""
    free = [one for one in ready if one.open < one.places]
    if free:
        return free
    raise overloaded(ready, demand, objective)


def overloaded(ready: Sequence[Candidate], demand: Demand, objective: Objective) -> Overloaded:
    """What to tell whoever finds no room at any of these, with the time after which it is worth another try."""
    waits = [predict(one.pool, demand, objective).first_s - objective.first_s for one in ready if one.pool is not None]
    wait_s = min(max(min(waits, default=LEAST_RETRY_S), LEAST_RETRY_S), MOST_RETRY_S)
    return Overloaded(
        f"{sum(one.open for one in ready)} requests are running and waiting already; try again in {wait_s:.0f} s",
        retry_after_s=wait_s,
    )


def _fewest(free: Sequence[Candidate]) -> Candidate:
    """Of all, not of two at random: the front door has the counts anyway. Places are the weights."""
    return min(free, key=lambda one: one.open / one.places)


def _to_wake(candidates: Sequence[Candidate], ready: Sequence[Candidate]) -> str | None:
    """A sleeping variant: the best of those that are faster than all that are ready; none while one of these starts.

    Where the speeds were not measured, what loses more is taken to be faster, and a slower one is better than none.
    """
    asleep = [one for one in candidates if one.state == "asleep"]
    if not asleep:
        return None
    order = [one.name for one in candidates]
    last = max((order.index(one.name) for one in ready), default=-1)
    known = all(one.speedup is not None for one in (*ready, *asleep))
    fastest = max((one.speedup or 0.0 for one in ready), default=0.0)

    def faster(one: Candidate) -> bool:
        return (one.speedup or 0.0) > FASTER * fastest if known else order.index(one.name) > last

    if any(one.state == "starting" and faster(one) for one in candidates):
        return None
    return next((one.name for one in asleep if faster(one)), None if known else asleep[0].name)


def _pressed(before: Mapping[str, Pressure], full: Sequence[str], now: float) -> Mapping[str, Pressure]:
    """With those that passed a request on just now."""
    if not full:
        return before
    after = dict(before)
    for name in full:
        last = before.get(name)
        if last is None or now >= last.since_s + last.hold_s + SOON_S:
            after[name] = Pressure(now)
        elif last.holds(now):
            after[name] = Pressure(now, last.hold_s)
        else:  # again, soon after it was let go: it was too early
            after[name] = Pressure(now, min(MOST_HOLD_S, 2 * last.hold_s))
    return after
