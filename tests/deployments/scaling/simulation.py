"""A variant under load with a simulated clock: replicas that batch continuously and take time to start.

A step of a batch of b requests takes `STEP_S + b * ROW_S` and gives each of them a token, so that throughput grows with
the batch and ends at `CAPACITY`. Requests wait in their replica where the batch is full.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from deployments.scaling import Bounds, Memory, ReplicaLoad, Seen, decide

STEP_S, ROW_S, BATCH = 0.010, 0.0015, 32
CAPACITY = BATCH / (STEP_S + BATCH * ROW_S)  # tokens/s of one replica: 552
START_S = 8.0
TELL_S = 0.5  # replicas tell their load so often
VELOCITY_S = 3.0


@dataclass(slots=True)
class Replica:
    ready_s: float
    running: list[tuple[float, int]] = field(default_factory=list)  # (progress at which it ends, id), a heap
    waiting: deque[tuple[float, int]] = field(default_factory=deque)  # (arrival, tokens)
    progress: float = 0.0  # tokens that a request which ran all the time would have
    done: float = 0.0
    history: deque[tuple[float, float]] = field(default_factory=deque)  # (time, done)
    told: ReplicaLoad = field(default_factory=ReplicaLoad)

    @property
    def outstanding(self) -> float:
        return sum(end - self.progress for end, _ in self.running) + sum(tokens for _, tokens in self.waiting)

    def advance(self, seconds: float, now: float) -> list[tuple[float, float]]:
        """Computes for so long; returns (arrival, seconds waited) of each request that got its first token."""
        waits = []
        left = seconds
        while left > 1e-9:
            while self.waiting and len(self.running) < BATCH:
                arrival, tokens = self.waiting.popleft()
                waits.append((arrival, max(0.0, now + seconds - left - arrival)))
                heapq.heappush(self.running, (self.progress + tokens, tokens))
            if not self.running:
                break
            step_s = STEP_S + ROW_S * len(self.running)
            steps = min(self.running[0][0] - self.progress, left / step_s)
            self.progress += steps
            self.done += steps * len(self.running)
            left -= steps * step_s
            while self.running and self.running[0][0] - self.progress < 1e-6:
                heapq.heappop(self.running)
        return waits

    def tell(self, now: float, *, measured: bool) -> None:
        self.history.append((now, self.done))
        while len(self.history) > 2 and self.history[1][0] <= now - VELOCITY_S:
            self.history.popleft()
        (since, before), (until, done) = self.history[0], self.history[-1]
        self.told = ReplicaLoad(
            running=len(self.running),
            waiting=len(self.waiting),
            queue=sum(tokens for _, tokens in self.waiting),
            left=self.outstanding,
            velocity=(done - before) / (until - since) if until > since else 0.0,
            capacity=CAPACITY if measured else 0.0,
        )


@dataclass(slots=True)
class Simulation:
    """Runs `decide` every second over arrivals (time, tokens of the answer), which come in order."""

    bounds: Bounds
    measured: bool = True
    tick_s: float = 0.25
    replicas: list[Replica] = field(default_factory=list)
    target: int = 0
    memory: Memory = field(default_factory=Memory)
    now: float = 0.0
    queued: deque[tuple[float, int]] = field(default_factory=deque)  # no replica is there for them
    targets: list[tuple[float, int]] = field(default_factory=list)  # each change
    waits: list[tuple[float, float]] = field(default_factory=list)  # (arrival, seconds until the first token)

    def __post_init__(self) -> None:
        self.target = self.bounds.min
        self.replicas = [Replica(0.0) for _ in range(self.target)]
        self.targets = [(0.0, self.target)]

    def run(self, arrivals: Iterable[tuple[float, int]], until_s: float) -> None:
        coming = deque(arrivals)
        told_s = decided_s = self.now
        while self.now < until_s:
            while coming and coming[0][0] <= self.now:
                self.queued.append(coming.popleft())
            up = [replica for replica in self.replicas if replica.ready_s <= self.now]
            while self.queued and up:
                min(up, key=lambda one: one.outstanding).waiting.append(self.queued.popleft())
            for replica in up:
                self.waits += replica.advance(self.tick_s, self.now)
            self.now += self.tick_s
            if self.now - told_s >= TELL_S:
                told_s = self.now
                for replica in up:
                    replica.tell(self.now, measured=self.measured)
            if self.now - decided_s >= 1.0:
                decided_s = self.now
                self._decide(up)

    def _decide(self, up: list[Replica]) -> None:
        seen = Seen([replica.told for replica in up], len(up), self.target, len(self.queued))
        target, self.memory = decide(seen, self.bounds, self.memory, self.now)
        if target != self.target:
            self.targets.append((self.now, target))
        self.target = target
        while len(self.replicas) < target:
            self.replicas.append(Replica(self.now + START_S))
        while len(self.replicas) > target:
            # Serve gives up those first that are not there yet; the others finish what they have elsewhere.
            victim = max(self.replicas, key=lambda one: (one.ready_s, -one.outstanding))
            self.replicas.remove(victim)
            self.queued.extend(victim.waiting)

    @property
    def replica_seconds(self) -> float:
        """What was wanted, over time."""
        until = [at for at, _ in self.targets[1:]] + [self.now]
        return sum(target * (end - at) for (at, target), end in zip(self.targets, until, strict=True))

    def target_at(self, time: float) -> int:
        return next(target for at, target in reversed(self.targets) if at <= time)

    def changes(self, since_s: float) -> list[tuple[float, int]]:
        return [change for change in self.targets if change[0] >= since_s]


def steady(rate: float, tokens: int, start_s: float, end_s: float) -> list[tuple[float, int]]:
    """Requests of so many tokens, `rate` tokens/s in all, evenly spaced."""
    count = int((end_s - start_s) * rate / tokens)
    return [(start_s + i * tokens / rate, tokens) for i in range(count)]
