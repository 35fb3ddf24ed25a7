"""Callers, a router and replicas with a simulated clock: variants are queues whose steps cost what they are said to.

Replicas batch like the real engines: those that write take a token in each step, prompts share the rest of it.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from deployments.load import Load, StepCost
from deployments.load_meter import LoadMeter
from deployments.routing.open_requests import Ticket
from deployments.routing.prediction import Demand, Objective
from deployments.routing.router import Ask, Router, Step
from deployments.variants import VariantInfo
from engine.errors import Overloaded

STEP_TOKENS, SLOTS, QUEUE = 512, 64, 256


@dataclass(eq=False)
class Item:
    ticket: Ticket
    prompt: int
    output: int
    came_s: float
    number: int
    computed: int = 0
    written: int = 0
    first_s: float = math.nan
    end_s: float = math.nan
    variant: str = ""


@dataclass
class Replica:
    """One replica: the engine's schedule in a few lines."""

    name: str
    cost: StepCost
    meter: LoadMeter
    waiting: list[Item] = field(default_factory=list)
    running: list[Item] = field(default_factory=list)
    busy: bool = False
    alive: bool = True

    def add(self, item: Item) -> None:
        self.waiting.append(item)
        self.meter.came(str(item.number), item.prompt, item.output)

    def step(self) -> tuple[float, list[tuple[Item, int]]]:
        """Seconds of the next step, and what it computes."""
        room = STEP_TOKENS
        work: list[tuple[Item, int]] = []
        for item in sorted(self.running, key=lambda item: item.computed < item.prompt):
            count = min(room, max(1, item.prompt - item.computed))
            if count:
                work.append((item, count))
                room -= count
        while self.waiting and room and len(self.running) < SLOTS:
            item = self.waiting.pop(0)
            self.running.append(item)
            work.append((item, min(room, item.prompt)))
            room -= work[-1][1]
        return self.cost.seconds(sum(count for _, count in work)), work

    def load(self) -> Load:
        return self.meter.load(
            self.name,
            len(self.running),
            len(self.waiting),
            slots=SLOTS,
            places=SLOTS + QUEUE,
            step_tokens=STEP_TOKENS,
            node="node",
        )


@dataclass(frozen=True)
class Call:
    """One that comes."""

    at_s: float
    prompt: int = 100
    output: int = 50
    caller: str = "a"


class World:
    """`costs` by variant, in order of quality. With `shared` cores all compute on the same ones: a step takes as many
    times as long as replicas compute when it begins (times `crowded`, where they are several), and the router knows
    (`told`) or does not. `speedups` are what was measured before."""

    def __init__(
        self,
        costs: dict[str, StepCost],
        objective: Objective,
        report_s: float = 0.1,
        *,
        shared: bool = False,
        told: bool = True,
        crowded: float = 1.0,
        speedups: dict[str, float] | None = None,
    ) -> None:
        self.now = 0.0
        self.shared = shared
        self.crowded = crowded
        shares, known = shared and told, speedups or {}
        infos = [
            VariantInfo(name, retained=1.0 - 0.01 * i, measured=True, shares=shares, speedup=known.get(name))
            for i, name in enumerate(costs)
        ]
        self.router = Router("m", infos, objective, lambda: self.now)
        self.steps: list[tuple[float, Step]] = []
        self.router.on_step = lambda step: self.steps.append((self.now, step))
        self.replicas = {name: Replica(name, cost, LoadMeter(lambda: self.now)) for name, cost in costs.items()}
        self.report_s = report_s
        self.done: list[Item] = []
        self.refused: list[tuple[Call, Overloaded]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        for name in costs:
            self.at(0.0, lambda name=name: self._report(name))  # type: ignore[misc]

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def run(self, calls: Sequence[Call], until: float) -> None:
        for call in calls:
            self.at(call.at_s, lambda call=call: self._call(call))  # type: ignore[misc]
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = until

    def kill(self, name: str) -> None:
        """It dies with all that it has; callers are told."""
        replica = self.replicas[name]
        replica.alive = False
        for item in [*replica.waiting, *replica.running]:
            item.ticket.close()
        replica.waiting, replica.running = [], []

    def _report(self, name: str) -> None:
        replica = self.replicas[name]
        self.router.hear(name, [replica.load()] if replica.alive else [])
        self.router.look()
        self.at(self.now + self.report_s, lambda: self._report(name))

    def _call(self, call: Call) -> None:
        try:
            decision, ticket = self.router.choose(Ask(Demand(call.prompt, call.output), caller=call.caller))
        except Overloaded as error:
            self.refused.append((call, error))
            return
        replica = self.replicas[decision.variant]
        if not replica.alive:
            ticket.close()
            return
        item = Item(ticket, call.prompt, call.output, self.now, next(self._order), variant=decision.variant)
        replica.add(item)
        if not replica.busy:
            self._start(replica)

    def _start(self, replica: Replica) -> None:
        seconds, work = replica.step()
        replica.busy = bool(work)
        if self.shared:
            computing = sum(one.busy for one in self.replicas.values())
            seconds *= computing * self.crowded if computing > 1 else 1
        if work:
            self.at(self.now + seconds, lambda: self._end(replica, seconds, work))

    def _end(self, replica: Replica, seconds: float, work: list[tuple[Item, int]]) -> None:
        if not replica.alive:
            return
        replica.meter.step(sum(count for _, count in work), seconds)
        for item, count in work:
            item.computed += count
            if item.computed < item.prompt:
                continue
            item.written += 1
            replica.meter.wrote(str(item.number), 1)
            if item.written == 1:
                item.first_s = self.now
                item.ticket.begin(item.prompt)
            if item.written >= item.output:
                item.end_s = self.now
                replica.running.remove(item)
                replica.meter.gone(str(item.number), finished=True)
                item.ticket.close()
                self.done.append(item)
        self._start(replica)

    def shares(self, since: float, until: float) -> dict[str, float]:
        """Of the requests that came in a time and were answered."""
        found = [item.variant for item in self.done if since <= item.came_s < until]
        return {name: found.count(name) / max(1, len(found)) for name in self.replicas}

    def ttfts(self, since: float, until: float) -> list[float]:
        return sorted(item.first_s - item.came_s for item in self.done if since <= item.came_s < until)

    def tpots(self, since: float, until: float) -> list[float]:
        return sorted(
            (item.end_s - item.first_s) / (item.output - 1)
            for item in self.done
            if since <= item.came_s < until and item.output > 1
        )


def poisson(rate: Callable[[float], float], until: float, most: float, seed: int, caller: str = "a") -> list[Call]:
    """Calls that come at random, at `rate(time)` a second, never more than `most`; sizes vary by half."""
    draw = random.Random(seed)
    calls, now = [], 0.0
    while (now := now + draw.expovariate(most)) < until:
        if draw.random() * most < rate(now):
            calls.append(Call(now, draw.randint(50, 150), draw.randint(25, 75), caller))
    return calls
