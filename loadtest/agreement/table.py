"""The comparison for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.agreement.compare import OURS, Round, compare, judge, missing
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


def head(content: Mapping[str, Any]) -> str:
    """What `as_json` has of where it comes from, as a list."""
    machine, server = content["machine"], content["server"]
    told = [
        f"{machine['date']}, commit {machine['commit']}",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Python {machine['python']}",
        f"server: {server['url']}, version {server['version'] or 'unknown'}, {', '.join(server['models'])}",
        "clients: " + ", ".join(f"{name} {version}" for name, version in content["clients"].items()),
        "arguments: " + ", ".join(f"{name} {value}" for name, value in content["arguments"].items()),
    ]
    return "".join(f"- {line}\n" for line in told)


def markdown(found: Sequence[Compared], tolerance: float) -> str:
    """A table for each load."""
    return "\n".join(line for one in found for line in _table(one, tolerance))


def _table(one: Compared, tolerance: float) -> list[str]:
    others = [name for name in one.rounds[0] if name != OURS]
    columns = [title(one.work), OURS, "from the wire"]
    columns += [cell for name in others for cell in (name, "from the wire", "from ours")]
    lines = [f"| {' | '.join(columns)} |", f"|---{'|---:' * (len(columns) - 1)}|"]
    for line in compare(one.rounds):
        cells = [TITLES[line.figure], _number(line.medians[OURS]), _share(line.from_wire[OURS])]
        for name in others:
            cells += [_number(line.medians[name]), _share(line.from_wire[name]), _share(line.from_ours[name])]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", in_words(one, tolerance), ""]


def in_words(one: Compared, tolerance: float) -> str:
    """The verdict, what our client says against itself, and whose requests were not answered."""
    verdict = judge(one.rounds, one.work.requests, tolerance)
    asked = one.work.requests * len(one.rounds)
    lacking = missing(one.rounds, one.work.requests)
    doubts = [said for clients in one.rounds if (said := clients[OURS].said.doubt)]
    return " ".join(
        [
            f"They {verdict} within {100 * tolerance:g}%.",
            *([f"In {len(doubts)} of {len(one.rounds)} rounds ours doubts itself: {doubts[0]}"] if doubts else []),
            *(f"Not answered of {name}'s {asked} requests: {count}." for name, count in lacking.items() if count),
        ]
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"


def _share(difference: float | None) -> str:
    return "–" if difference is None else f"{100 * difference:+.1f}%"


def as_json(
    found: Sequence[Compared],
    tolerance: float,
    machine: Mapping[str, Any],
    server: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything: where it comes from, the work, each round, the comparison."""
    return {
        "machine": dict(machine),
        "server": dict(server),
        "clients": {name: one.said.version for name, one in found[0].rounds[0].items()},
        "arguments": dict(arguments),
        "tolerance": tolerance,
        "agree": all(judge(one.rounds, one.work.requests, tolerance) == "agree" for one in found),
        "loads": [
            {
                "title": title(one.work),
                "work": _without_key(one.work),
                "rounds": [{name: asdict(seen) for name, seen in clients.items()} for clients in one.rounds],
                "lines": [asdict(line) for line in compare(one.rounds)],
                "verdict": judge(one.rounds, one.work.requests, tolerance),
            }
            for one in found
        ],
    }


def _without_key(work: Work) -> dict[str, Any]:
    return {name: value for name, value in asdict(work).items() if name != "api_key"}
