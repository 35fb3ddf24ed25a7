"""Whether the clients say the same, by the median over the rounds of how far each is from ours in that round.

What a server does differs from run to run. How far that goes is seen in a second run of ours in each round: where ours
is further from itself than the others may be, nothing can be told.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from loadtest.agreement.figures import TITLES, Figures

OURS, AGAIN = "ours", "ours again"

Round = Mapping[str, Figures]
"""Figures by client, of one round."""

Verdict = Literal["agree", "do not agree", "cannot be told apart from the server's own changes"]


@dataclass(frozen=True, slots=True)
class Line:
    """One figure by client: its median, and the median of its differences from ours, as shares of ours."""

    figure: str
    medians: dict[str, float]
    differences: dict[str, float]


def compare(rounds: Sequence[Round]) -> list[Line]:
    """A line for each figure. All rounds have the same clients; one is ours."""
    return [_line(figure, rounds) for figure in TITLES]


def judge(rounds: Sequence[Round], tolerance: float) -> Verdict:
    """Where a request has failed, figures are of different requests, which is no agreement."""
    if any(one.failed for clients in rounds for one in clients.values()):
        return "do not agree"
    lines = compare(rounds)
    if any(abs(line.differences.get(AGAIN, 0.0)) > tolerance for line in lines):
        return "cannot be told apart from the server's own changes"
    within = all(abs(one) <= tolerance for line in lines for one in line.differences.values())
    return "agree" if within else "do not agree"


def _line(figure: str, rounds: Sequence[Round]) -> Line:
    values = {name: [float(getattr(one[name], figure)) for one in rounds] for name in rounds[0]}
    differences = {
        name: statistics.median(said / ours - 1 for said, ours in zip(of_rounds, values[OURS], strict=True))
        for name, of_rounds in values.items()
        if name != OURS
    }
    return Line(figure, {name: statistics.median(of_rounds) for name, of_rounds in values.items()}, differences)
