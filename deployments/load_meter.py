"""Measures an engine from its steps and its requests: what a step costs, how fast it goes, what is left to do."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from deployments.load import Load, StepCost, capacity

MEMORY_S = 5.0  # of computing: what a step costs changes when neighbours on the same cores come and go
TRUSTED_S = 1.0  # of computing, after which a cost can count as the lightest one seen
FRESH_S = 5.0  # without a step, before a cost begins to be forgotten
FORGET_S = 10.0  # in which half of what is above the lightest cost is forgotten
REFERENCE_TOKENS = 32  # of the step by which costs are compared
WINDOW_S = 2.0  # over which speed is measured
OUTPUT_WEIGHT = 0.05  # of one more answer in the mean of their lengths
FIRST_OUTPUT = 128.0  # tokens of an answer while none has ended
HEARD_S = 3.0  # a front door that has told nothing for so long counts no more; each asks every second at least
SEEN_SHARE = 0.25  # of the slots: a batch as full as that tells enough of full ones


class CostMeter:
    """A line through the last steps' (tokens, seconds), by least squares with weights that fall with time.

    Without steps the cost sinks to the lightest one seen: the last ones may have been dear only because of a busy
    neighbour, and a variant that is thought slow gets no requests to show that it no longer is.
    """

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = self._computed_s = 0.0
        self._last_s = -math.inf
        self._lightest: StepCost | None = None

    def observe(self, tokens: int, seconds: float, now: float) -> None:
        """One step that ended `now`."""
        if tokens <= 0 or seconds <= 0:
            return
        keep = math.exp(-seconds / MEMORY_S)
        self._weight = self._weight * keep + 1.0
        self._x = self._x * keep + tokens
        self._y = self._y * keep + seconds
        self._xx = self._xx * keep + tokens * tokens
        self._xy = self._xy * keep + tokens * seconds
        self._computed_s += seconds
        self._last_s = now
        if self._computed_s >= TRUSTED_S:
            line = self._line()
            if self._lightest is None or line.seconds(REFERENCE_TOKENS) < self._lightest.seconds(REFERENCE_TOKENS):
                self._lightest = line

    def cost(self, now: float) -> StepCost:
        """As far as it is known."""
        if not self._weight:
            return StepCost()
        line, lightest = self._line(), self._lightest
        idle_s = now - self._last_s - FRESH_S
        if idle_s <= 0 or lightest is None:
            return line
        kept = 0.5 ** (idle_s / FORGET_S)
        return StepCost(
            lightest.base_s + (line.base_s - lightest.base_s) * kept,
            lightest.token_s + (line.token_s - lightest.token_s) * kept,
        )

    def _line(self) -> StepCost:
        x, y = self._x / self._weight, self._y / self._weight
        spread = self._xx / self._weight - x * x
        # Steps of nearly one size say nothing of others; the small term keeps their noise from making a slope.
        slope = (self._xy / self._weight - x * y) / (spread + 0.01 * x * x)
        slope = min(max(0.0, slope), y / x)
        return StepCost(y - slope * x, slope)


@dataclass(slots=True)
class _Open:
    prompt: int
    most: int
    written: int = 0
    begun: bool = False


class LoadMeter:
    """Told of steps by the engine's thread, of requests by the asyncio thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards _costs and _steps
        self._costs = CostMeter()
        self._steps: deque[tuple[float, int]] = deque()  # (end, tokens)
        self._largest = 0  # requests that ran at once
        self._open: dict[str, _Open] = {}
        self._begun: deque[tuple[float, int]] = deque()  # (when, tokens of the prompt)
        self._output = FIRST_OUTPUT
        self._prompt = 0.0
        self._writes = False
        self._turned_away: dict[str, tuple[float, float]] = {}  # by front door: (tokens/s, when it told)

    def turned_away(self, front_door: str, tokens_per_s: float) -> None:
        """A front door tells how much it took elsewhere because this variant was full. There may be several."""
        self._turned_away[front_door] = tokens_per_s, self._clock()

    def step(self, tokens: int, seconds: float) -> None:
        """The engine computed a step."""
        now = self._clock()
        with self._lock:
            self._costs.observe(tokens, seconds, now)
            self._steps.append((now, tokens))
            while self._steps[0][0] < now - WINDOW_S:
                self._steps.popleft()

    def came(self, request_id: str, prompt: int, most: int) -> None:
        """A request whose answer has at most so many tokens (0: it is not written token by token)."""
        self._open[request_id] = _Open(prompt, most)
        self._writes = self._writes or most > 0
        self._prompt += (prompt - self._prompt) * (OUTPUT_WEIGHT if self._prompt else 1.0)

    def wrote(self, request_id: str, tokens: int) -> None:
        """A request's answer grew."""
        one = self._open.get(request_id)
        if one is None:
            return
        one.written += tokens
        if not one.begun:
            one.begun = True
            self._begun.append((self._clock(), one.prompt))

    def gone(self, request_id: str, finished: bool) -> None:
        """A request was answered, or given up."""
        one = self._open.pop(request_id, None)
        if one is not None and finished and one.most:
            self._output += (one.written - self._output) * OUTPUT_WEIGHT

    def load(
        self, replica: str, running: int, waiting: int, *, slots: int, places: int, step_tokens: int, node: str = ""
    ) -> Load:
        """All of it now."""
        now = self._clock()
        with self._lock:
            cost = self._costs.cost(now)
            tokens = sum(tokens for end, tokens in self._steps if end >= now - WINDOW_S)
        while self._begun and self._begun[0][0] < now - WINDOW_S:
            self._begun.popleft()
        self._turned_away = {name: told for name, told in self._turned_away.items() if told[1] >= now - HEARD_S}
        self._largest = max(self._largest, running)
        left = [(one, self._left(one)) for one in self._open.values()]
        full = capacity(cost, slots, self._prompt, self._output if self._writes else 0.0)
        seen = not self._writes or self._largest >= slots * SEEN_SHARE
        unbegun = [amount for one, amount in left if not one.begun]
        return Load(
            replica,
            running=running,
            waiting=waiting,
            waiting_tokens=sum(unbegun) * min(1.0, waiting / max(1, len(unbegun))),
            left_tokens=sum(amount for _, amount in left),
            prompt_tokens=sum(one.prompt for one, _ in left if not one.begun),
            tokens_per_s=tokens / WINDOW_S,
            prompt_per_s=sum(tokens for _, tokens in self._begun) / WINDOW_S,
            capacity_tokens_per_s=full if seen else 0.0,
            slots=slots,
            places=places,
            step_tokens=step_tokens,
            cost=cost,
            output_tokens=self._output,
            turned_away_per_s=sum(per_s for per_s, _ in self._turned_away.values()),
            node=node,
        )

    def _left(self, one: _Open) -> float:
        """Tokens that a request is still expected to want."""
        if not one.most:
            return float(one.prompt)
        expected = min(float(one.most), max(self._output, one.written + 1.0))
        return (0 if one.begun else one.prompt) + max(0.0, expected - one.written)
