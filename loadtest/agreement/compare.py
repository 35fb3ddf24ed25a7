"""Whether the clients say the same: medians over the rounds, and how far they are from ours."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.agreement.figures import TITLES, Figures

OURS = "ours"

Round = Mapping[str, Figures]
"""Figures by client, of one round."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure by client. `differences` are from ours, `spreads` from the lowest to the highest round; both are
    shares of the median."""

    figure: str
    medians: dict[str, float]
    spreads: dict[str, float]
    differences: dict[str, float]
    agrees: bool


def compare(rounds: Sequence[Round], tolerance: float) -> list[Line]:
    """A line for each figure. All rounds have the same clients; one is ours."""
    return [_line(figure, rounds, tolerance) for figure in TITLES]


def agree(rounds: Sequence[Round], tolerance: float) -> bool:
    """On every figure; and every request was answered, without which the figures are of different requests."""
    failed = any(one.failed for clients in rounds for one in clients.values())
    return not failed and all(line.agrees for line in compare(rounds, tolerance))


def _line(figure: str, rounds: Sequence[Round], tolerance: float) -> Line:
    values = {name: [float(getattr(one[name], figure)) for one in rounds] for name in rounds[0]}
    medians = {name: statistics.median(of_rounds) for name, of_rounds in values.items()}
    differences = {name: median / medians[OURS] - 1 for name, median in medians.items() if name != OURS}
    return Line(
        figure,
        medians,
        {name: (max(of_rounds) - min(of_rounds)) / medians[name] for name, of_rounds in values.items()},
        differences,
        all(abs(one) <= tolerance for one in differences.values()),
    )
