"""Whether the clients say the same of one server.

What a server does differs from run to run, and far more so on a machine that others use. So each client's figure is
taken as a ratio to what the wire saw in that same run, and what is compared are those ratios: the server, and the
machine, cancel out. What counts is the median over the rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from loadtest.agreement.figures import TITLES, Figures

OURS = "ours"

Verdict = Literal["agree", "do not agree"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One client's run: what it said, and what the wire saw."""

    said: Figures
    wire: Figures


Round = Mapping[str, Seen]
"""By client."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure by client: the median of what it said, of its differences from the wire, and from ours, which has none
    itself. Differences are shares; None: there is nothing to compare, for one of them is 0."""

    figure: str
    medians: dict[str, float]
    from_wire: dict[str, float | None]
    from_ours: dict[str, float | None]


def compare(rounds: Sequence[Round]) -> list[Line]:
    """A line for each figure. All rounds have the same clients; one is ours."""
    return [_line(figure, rounds) for figure in TITLES]


def judge(rounds: Sequence[Round], requests: int, tolerance: float) -> Verdict:
    """Where not all `requests` of each run were answered, figures are of different ones, which is no agreement."""
    if any(missing(rounds, requests).values()):
        return "do not agree"
    found = (one for line in compare(rounds) for one in line.from_ours.values())
    return "agree" if all(one is not None and abs(one) <= tolerance for one in found) else "do not agree"


def missing(rounds: Sequence[Round], requests: int) -> dict[str, int]:
    """By client, how many requests of all rounds were not answered, by its own account or by the wire's."""

    def of(one: Seen) -> int:
        return max(abs(requests - said.completed) for said in (one.said, one.wire))

    return {name: sum(of(clients[name]) for clients in rounds) for name in rounds[0]}


def _line(figure: str, rounds: Sequence[Round]) -> Line:
    def ratio(one: Seen) -> float | None:
        said, wire = float(getattr(one.said, figure)), float(getattr(one.wire, figure))
        return said / wire if said and wire else None

    def against_ours(name: str) -> Callable[[Round], float | None]:
        def found(one: Round) -> float | None:
            theirs, ours = ratio(one[name]), ratio(one[OURS])
            return None if theirs is None or ours is None else theirs / ours

        return found

    names = list(rounds[0])
    return Line(
        figure,
        {name: statistics.median(float(getattr(one[name].said, figure)) for one in rounds) for name in names},
        {name: _difference([ratio(one[name]) for one in rounds]) for name in names},
        {name: _difference(list(map(against_ours(name), rounds))) for name in names if name != OURS},
    )


def _difference(ratios: Sequence[float | None]) -> float | None:
    found = [one for one in ratios if one is not None]
    return statistics.median(found) - 1 if len(found) == len(ratios) else None
