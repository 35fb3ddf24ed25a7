"""How many replicas a variant needs: a pure function of what its replicas tell, so it can be tested without a cluster.

The measure is work: tokens per second that come in, against what one replica was measured to compute, and tokens that
wait. Open requests say little of either: one may want ten tokens or ten thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from deployments.load import Load

UP = 0.8  # more replicas are wanted where these would have to run above this share of their capacity
DOWN = 0.6  # fewer are enough where those that stay would run below this one; the gap keeps constant load from flapping
DRAIN_S = 15.0  # what waits is to be gone in this time
GROWTH_S = 3.0  # time over which the growth of what waits is measured
MARK_S = 0.5  # between two remembered points
STABLE_S = 60.0  # fewer must have been enough for so long
PAUSE_S = 10.0  # between one replica less and the next
FULL_S = 4.0  # a replica that had work waiting for so long shows what it can do
LEARNING_S = 10.0  # time in which a capacity that is seen replaces the one that is remembered

Marks = tuple[tuple[float, float], ...]  # (time, value), oldest first


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """What one replica tells.

    Requests that run and wait; tokens that the waiting ones want (`queue`) and that all together still want (`left`);
    tokens/s of the last seconds (`velocity`), tokens/s that it can do (`capacity`; 0: not measured), and tokens/s of
    requests that went elsewhere because this variant was full (`turned_away`).
    """

    running: float = 0.0
    waiting: float = 0.0
    queue: float = 0.0
    left: float = 0.0
    velocity: float = 0.0
    capacity: float = 0.0
    turned_away: float = 0.0

    @classmethod
    def of(cls, load: Load) -> ReplicaLoad:
        """The part of what a replica measures that scaling goes by."""
        return cls(
            running=load.running,
            waiting=load.waiting,
            queue=load.waiting_tokens,
            left=load.left_tokens,
            velocity=load.tokens_per_s,
            capacity=load.capacity_tokens_per_s,
            turned_away=load.turned_away_per_s,
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a variant may have. With `min` 0 it sleeps after `idle_s` seconds without work."""

    min: int
    max: int
    idle_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The variant at one moment: `target` replicas are wanted, `current` answer, `loads` are what these tell. `queued`
    requests have no replica yet."""

    loads: Sequence[ReplicaLoad]
    current: int
    target: int
    queued: float = 0.0

    @property
    def idle(self) -> bool:
        # What went elsewhere fades out slowly where it is measured.
        return not self.queued and not any(load.running or load.waiting or load.turned_away > 1 for load in self.loads)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the policy knows of earlier.

    `capacity` of one replica in tokens/s, 0 while unknown, as of `learned_s`; `full_since_s`: since when work waits;
    `busy_s`: when there was work last; `lowered_s`: when a replica was last given up; `queues` and `lefts`: tokens that
    waited and that were left to do, in the last seconds; `needs`: replicas that would have been enough, over the stable
    window.
    """

    capacity: float = 0.0
    learned_s: float = 0.0
    full_since_s: float | None = None
    busy_s: float | None = None
    lowered_s: float = -math.inf
    queues: Marks = ()
    lefts: Marks = ()
    needs: Marks = ()


def decide(seen: Seen, bounds: Bounds, memory: Memory, now: float) -> tuple[int, Memory]:
    """The number of replicas to have, and what to remember for the next call. `now` in seconds never goes back."""
    memory = _learned(seen, memory, now)
    if memory.busy_s is None or not seen.idle or seen.current < seen.target:
        memory = replace(memory, busy_s=now)  # a replica that is still starting is not idle
    if seen.current == 0:
        # Nobody tells anything. Whoever waits is reason enough for one; more follow when it is there.
        return _within(bounds, max(seen.target, 1 if seen.queued else 0)), replace(
            memory, queues=(), lefts=(), needs=()
        )
    memory = replace(
        memory,
        queues=marked(memory.queues, now, sum(load.queue for load in seen.loads), GROWTH_S, min),
        lefts=marked(memory.lefts, now, sum(load.left for load in seen.loads), GROWTH_S, max),
    )
    memory = replace(memory, needs=marked(memory.needs, now, _needed(seen, bounds, memory, DOWN), STABLE_S, max))
    wanted = _needed(seen, bounds, memory, UP)
    if wanted > seen.target:
        return _within(bounds, wanted), memory
    return _lowered(seen, bounds, memory, now)


def _within(bounds: Bounds, target: int) -> int:
    return max(bounds.min, min(bounds.max, target))


def _needed(seen: Seen, bounds: Bounds, memory: Memory, fill: float) -> int:
    """Replicas that compute what comes in at this share of their capacity, and what waits in `DRAIN_S`: at least one,
    and no more than there may be."""
    capacity = memory.capacity
    if not capacity:
        return 1 if seen.idle else seen.current  # if they are full, it shows in a few seconds what they can do
    # What waits at one point only, a request on its way into the batch, is no queue.
    queue = [(until, min(before, after)) for (_, before), (until, after) in pairwise(memory.queues)]
    coming = sum(load.velocity + load.turned_away for load in seen.loads)
    coming = max(0.0, coming + max(0.0, _growth(queue)) + min(0.0, _growth(memory.lefts)))
    # A queue stays with its replica, which cannot drain it faster than it computes, and takes nothing else meanwhile.
    draining = sum(min(load.queue / DRAIN_S, capacity) for load in seen.loads)
    draining = min(draining, queue[-1][1] / DRAIN_S) if queue else 0.0
    return max(1, math.ceil(min(bounds.max, (coming + draining) / (fill * capacity)) - 1e-6))


def _growth(marks: Sequence[tuple[float, float]]) -> float:
    """Growth in tokens/s, below 0 for shrinking: the least that is true of both halves of the window, for a burst is in
    one of them only."""
    if len(marks) < 3 or marks[-1][0] - marks[0][0] < GROWTH_S / 2:
        return 0.0
    (begun, first), (middle, second), (ended, third) = marks[0], marks[len(marks) // 2], marks[-1]
    early, late = (second - first) / (middle - begun), (third - second) / (ended - middle)
    return max(0.0, min(early, late)) + min(0.0, max(early, late))


def _lowered(seen: Seen, bounds: Bounds, memory: Memory, now: float) -> tuple[int, Memory]:
    """The target, or one less."""
    assert memory.busy_s is not None
    if seen.target <= 1:
        asleep = bounds.min == 0 and now - memory.busy_s >= bounds.idle_s
        return _within(bounds, 0 if asleep else 1), memory
    watched = memory.needs[-1][0] - memory.needs[0][0]
    if (
        watched < STABLE_S - MARK_S
        or max(need for _, need in memory.needs) >= seen.target
        or now - memory.lowered_s < PAUSE_S
    ):
        return _within(bounds, seen.target), memory
    return _within(bounds, seen.target - 1), replace(memory, lowered_s=now)


def _learned(seen: Seen, memory: Memory, now: float) -> Memory:
    """With the capacity that replicas tell, or else show. It comes and goes with neighbours on the same cores, so that
    only the mean of the last seconds counts."""
    found = [load.capacity for load in seen.loads if load.capacity]
    if not found:
        full = [load.velocity for load in seen.loads if load.waiting and load.running]
        since = (now if memory.full_since_s is None else memory.full_since_s) if full else None
        memory = replace(memory, full_since_s=since)
        if since is None or now - since < FULL_S or not any(full):
            return replace(memory, learned_s=now)
        found = [max(full)]
    seconds = min(max(0.0, now - memory.learned_s), LEARNING_S)
    weight = 1 - math.exp(-seconds / LEARNING_S) if memory.capacity else 1.0
    capacity = memory.capacity + weight * (sum(found) / len(found) - memory.capacity)
    return replace(memory, capacity=capacity, learned_s=now)


def marked(marks: Marks, now: float, value: float, window_s: float, join: Callable[[float, float], float]) -> Marks:
    """With one point more, or `value` joined to the last one where that is younger than `MARK_S`. Reaches back to just
    before the window."""
    if marks and now - marks[-1][0] < MARK_S:
        return (*marks[:-1], (marks[-1][0], join(marks[-1][1], value)))
    kept = sum(1 for time, _ in marks if time > now - window_s)
    return (*marks[max(0, len(marks) - kept - 1) :], (now, value))
