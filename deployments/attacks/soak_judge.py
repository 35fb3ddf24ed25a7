"""What samples taken during a soak say: is memory flat, is work as quick at the end as at the beginning?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployments.attacks.soak_load import Ended

WARM = 1 / 3  # of the time, in which caches and pools may still fill
LONG_S = 600.0  # from where on a soak is long enough for the strict limits
MIB, SHORT_MIB = 48.0, 128.0  # that a process may grow by after that
SHARE = 0.05  # or so much of what it has
SPEED, SHORT_SPEED = 0.8, 0.4  # of the first tenth, at least


@dataclass(frozen=True, slots=True)
class Sample:
    """`at_s` from the beginning; MiB and open files by process, and the fullest cache of any replica (0 to 1)."""

    at_s: float
    mib: dict[str, int]
    files: dict[str, int]
    cache: float


def growth(samples: Sequence[Sample], name: str, what: str = "mib") -> float:
    """By how much a process grew between the first and the last of these, along the line that fits best."""
    points: list[tuple[float, float]] = [(one.at_s, getattr(one, what)[name]) for one in samples]
    mean_t = sum(t for t, _ in points) / len(points)
    mean_v = sum(v for _, v in points) / len(points)
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    if not spread:
        return 0.0
    slope = sum((t - mean_t) * (v - mean_v) for t, v in points) / spread
    return slope * (points[-1][0] - points[0][0])


def growths(samples: Sequence[Sample], seconds: float) -> dict[str, tuple[float, float]]:
    """By process that lived through all of it after the warming up: MiB that it grew by, and that it may."""
    later = [one for one in samples if one.at_s >= WARM * seconds]
    if len(later) < 3:
        return {}
    lived = set.intersection(*(set(one.mib) for one in later))
    room = MIB if seconds >= LONG_S else SHORT_MIB
    return {name: (growth(later, name), max(room, SHARE * later[0].mib[name])) for name in sorted(lived)}


def rates(ended: Sequence[Ended], begin_s: float, seconds: float) -> tuple[float, float]:
    """Answers a second in the first tenth after the first, and in the last: the very first finds everything cold."""
    tenth = seconds / 10
    times = [one.at_s - begin_s for one in ended if one.how == "answered"]
    first = sum(tenth <= at < 2 * tenth for at in times) / tenth
    last = sum(seconds - tenth <= at < seconds for at in times) / tenth
    return first, last


def judge(
    samples: Sequence[Sample], ended: Sequence[Ended], begin_s: float, seconds: float
) -> tuple[dict[str, Any], list[str]]:
    """What was seen, and what is wrong with it."""
    faults = []
    grown = growths(samples, seconds)
    for name, (by, most) in grown.items():
        if by > most:
            faults.append(f"{name} grew by {by:.0f} MiB, more than {most:.0f}")
    lost = [one for one in ended if one.how == "lost"]
    if lost:
        faults.append(f"{len(lost)} requests were lost, the first: {lost[0].task}: {lost[0].words}")
    first, last = rates(ended, begin_s, seconds)
    least = SPEED if seconds >= LONG_S else SHORT_SPEED
    if last < least * first:
        faults.append(f"{last:.1f} answers a second at the end, {first:.1f} at the beginning")
    if not any(one.how == "answered" for one in ended):
        faults.append("nothing was answered")
    seen = {
        "requests": dict(Counter(f"{one.task}: {one.how}" for one in ended)),
        "units": dict(_units(ended)),
        "grew_mib": {name: round(by, 1) for name, (by, _) in grown.items()},
        "answers_per_s": {"first tenth": round(first, 2), "last tenth": round(last, 2)},
    }
    return seen, faults


def _units(ended: Sequence[Ended]) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in ended:
        found[one.task] += one.units
    return found
