"""The comparison for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.agreement.compare import OURS, Round, compare, judge
from loadtest.agreement.figures import TITLES
from loadtest.agreement.work import Streams, Work


@dataclass(frozen=True, slots=True)
class Compared:
    """One load, and what came of it."""

    work: Work
    rounds: Sequence[Round]


def title(work: Work) -> str:
    if isinstance(work.load, Streams):
        return f"Closed loop, {work.load.count} streams"
    return f"Open loop, {work.load.per_s:g} requests/s, Poisson"


def markdown(found: Sequence[Compared], tolerance: float) -> str:
    """A table for each load."""
    return "\n".join(line for one in found for line in _table(one, tolerance))


def _table(one: Compared, tolerance: float) -> list[str]:
    others = [name for name in one.rounds[0] if name != OURS]
    head = [title(one.work), OURS, *(cell for name in others for cell in (name, "from ours"))]
    lines = [f"| {' | '.join(head)} |", f"|---{'|---:' * (len(head) - 1)}|"]
    for line in compare(one.rounds):
        cells = [TITLES[line.figure], _number(line.medians[OURS])]
        for name in others:
            cells += [_number(line.medians[name]), f"{100 * line.differences[name]:+.1f}%"]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", in_words(one, tolerance), ""]


def in_words(one: Compared, tolerance: float) -> str:
    """The verdict, and whose requests failed."""
    verdict = judge(one.rounds, tolerance)
    said = {
        "agree": f"They agree within {100 * tolerance:g}%.",
        "do not agree": f"They do not agree within {100 * tolerance:g}%.",
    }.get(
        verdict, f"Ours is further than {100 * tolerance:g}% from itself: the server changes too much from run to run."
    )
    failed = {name: sum(clients[name].failed for clients in one.rounds) for name in one.rounds[0]}
    return " ".join([said, *(f"Failed requests of {name}: {count}." for name, count in failed.items() if count)])


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"


def as_json(found: Sequence[Compared], tolerance: float, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Everything: the work, each round, the comparison."""
    return {
        "machine": dict(machine),
        "tolerance": tolerance,
        "agree": all(judge(one.rounds, tolerance) == "agree" for one in found),
        "loads": [
            {
                "title": title(one.work),
                "work": asdict(one.work),
                "rounds": [{name: asdict(figures) for name, figures in clients.items()} for clients in one.rounds],
                "lines": [asdict(line) for line in compare(one.rounds)],
                "verdict": judge(one.rounds, tolerance),
            }
            for one in found
        ],
    }
