"""When the requests of an open loop come: drawn from a seed, split over workers without a gap or a double."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from loadtest.errors import LoadTestError
from loadtest.scenario import Open, Phase


@dataclass(frozen=True, slots=True)
class Arrival:
    """Request `number` is due `at_s` seconds after the start; a trace may say how long prompt and answer are."""

    number: int
    at_s: float
    prompt_tokens: int | None = None
    output_tokens: int | None = None


def schedule(load: Open, total_s: float, seed: int) -> list[Arrival]:
    """All arrivals before `total_s`, always the same for a seed. Raises LoadTestError for a trace it cannot read."""
    if load.trace is not None:
        return _traced(load.trace, total_s)
    phases = load.phases or (Phase(seconds=total_s, rate=load.rate or 0.0),)
    times = takewhile(lambda at_s: at_s < total_s, at_rates(phases, intervals(load, seed)))
    return [Arrival(number, at_s) for number, at_s in enumerate(times)]


def share(arrivals: Sequence[Arrival], worker: int, workers: int) -> list[Arrival]:
    """Those that worker `worker` of `workers` sends. All shares together are all arrivals."""
    return list(arrivals[worker::workers])


def intervals(load: Open, seed: int) -> Iterator[float]:
    """Endless intervals with a mean of 1. Gamma with `burstiness` as its shape is what vLLM's benchmark draws."""
    draw = random.Random(seed)
    while True:
        match load.arrivals:
            case "poisson":
                yield draw.expovariate(1.0)
            case "gamma":
                yield draw.gammavariate(load.burstiness, 1.0 / load.burstiness)
            case _:
                yield 1.0


def at_rates(phases: Sequence[Phase], drawn: Iterator[float]) -> Iterator[float]:
    """Intervals at rate 1, stretched to the phases' rates, until the phases end.

    The sum of the intervals is how many requests are expected by then; the time at which the integral of the rate
    reaches that is when the request comes (inversion, as for any Poisson process whose rate changes).
    """
    wanted, begin_s, before = next(drawn), 0.0, 0.0
    for phase in phases:
        expected = phase.seconds * (phase.rate + (phase.rate if phase.to is None else phase.to)) / 2
        while wanted < before + expected:
            yield begin_s + _time_within(phase, wanted - before)
            wanted += next(drawn)
        begin_s, before = begin_s + phase.seconds, before + expected


def _time_within(phase: Phase, expected: float) -> float:
    """Seconds into the phase by which so many requests are expected: t with rate t + slope t² / 2 = expected."""
    if expected <= 0:  # at its very begin, where the rate may be 0
        return 0.0
    slope = 0.0 if phase.to is None else (phase.to - phase.rate) / phase.seconds
    root = math.sqrt(max(0.0, phase.rate**2 + 2 * slope * expected))
    return min(phase.seconds, 2 * expected / (phase.rate + root))


def _traced(path: Path, total_s: float) -> list[Arrival]:
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LoadTestError(f"{path}: the trace cannot be read: {error}.") from None
    for line_number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            found.append((float(given["at_s"]), _whole(given, "prompt_tokens"), _whole(given, "output_tokens")))
            if not 0 <= found[-1][0] < math.inf:
                raise ValueError("times are from 0 on")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LoadTestError(f'{path}:{line_number}: write {{"at_s": 1.5}}: {error}.') from None
    due = sorted((one for one in found if one[0] < total_s), key=lambda one: one[0])
    return [Arrival(number, *one) for number, one in enumerate(due)]


def _whole(given: dict[str, Any], key: str) -> int | None:
    if (length := given.get(key)) is not None and int(length) < 1:
        raise ValueError(f"{key} is below 1")
    return None if length is None else int(length)
