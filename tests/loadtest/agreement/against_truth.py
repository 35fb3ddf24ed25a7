"""Holds all clients, and the wire before each, against the server with known timing: how far off is each of them?

    python -m tests.loadtest.agreement.against_truth --aiperf VENV/bin --servebench VENV/bin --output truth.json

Each run is held against its own truth. TTFT in the server is from when it had read the request; a client counts the way
there as well. The server takes six requests at a time, so that an open loop has to wait in it now and then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.agreement import aiperf, ours, servebench
from loadtest.agreement.compare import OURS, Round, Seen
from loadtest.agreement.figures import TITLES, Figures
from loadtest.agreement.rounds import WARM_UP, Client, drawn, run_one
from loadtest.agreement.table import Compared, as_json, title
from loadtest.agreement.table import markdown as markdown_of_said
from loadtest.agreement.work import Rate, Streams, Work
from loadtest.machine import machine
from tests.loadtest.conftest import Timed, start_timed

OPTIONS = "ttft=0.1..0.3,gap=0.02,serial=6"
TOLERANCE = 0.05
SAID, WIRE = attrgetter("said"), attrgetter("wire")


def true_figures(truth: Sequence[Mapping[str, Any]]) -> Figures:
    """Of the requests, as the server saw them."""
    begins = [[at_s for at_s, _ in one["events"]] for one in truth]
    tokens = [sum(count for _, count in one["events"]) for one in truth]
    ttft = [1000 * (events[0] - one["arrived_s"]) for one, events in zip(truth, begins, strict=True)]
    tpot = [1000 * (events[-1] - events[0]) / (n - 1) for events, n in zip(begins, tokens, strict=True)]
    seconds = max(one["end_s"] for one in truth) - min(one["arrived_s"] for one in truth)
    return Figures(
        ttft_p50_ms=float(np.percentile(ttft, 50)),
        ttft_p99_ms=float(np.percentile(ttft, 99)),
        tpot_mean_ms=statistics.mean(tpot),
        tpot_p50_ms=float(np.percentile(tpot, 50)),
        output_tokens_per_s=sum(tokens) / seconds,
        requests_per_s=len(truth) / seconds,
        completed=len(truth),
        failed=0,
        version="truth",
    )


@dataclass(frozen=True, slots=True)
class Held:
    """What the clients said in each round, and what was true of the same requests."""

    said: Compared
    true: list[dict[str, Figures]]


def hold(clients: Sequence[Client], work: Work, rounds: int, server: Timed) -> Held:
    """The clients in turns; each finds the server as if nobody had asked it yet."""
    said: list[Round] = []
    true: list[dict[str, Figures]] = []
    for number in range(rounds):
        pairs = {}
        for turn in range(len(clients)):
            index = (number + turn) % len(clients)
            server.clear()
            seen = run_one(clients[index], drawn(work, number, index))
            pairs[clients[index].name] = seen, true_figures(server.truth()[WARM_UP:])
        said.append({client.name: pairs[client.name][0] for client in clients})
        true.append({client.name: pairs[client.name][1] for client in clients})
    return Held(Compared(work, said), true)


def off_by(held: Held, client: str, of: Callable[[Seen], Figures], figure: str) -> float:
    """The median of how far what the client (or the wire before it) said was from the truth, as a share of it."""
    pairs = [
        (float(getattr(of(seen[client]), figure)), float(getattr(true[client], figure)))
        for seen, true in zip(held.said.rounds, held.true, strict=True)
    ]
    return statistics.median(said / true - 1 for said, true in pairs)


def markdown(held: Held) -> str:
    """How far each is from the truth."""
    names = list(held.true[0])
    head = [f"{title(held.said.work)}: off by", *(cell for name in names for cell in (name, "its wire"))]
    lines = [f"| {' | '.join(head)} |", f"|---{'|---:' * (len(head) - 1)}|"]
    for figure, name in TITLES.items():
        found = [off_by(held, client, of, figure) for client in names for of in (SAID, WIRE)]
        lines.append(f"| {' | '.join([name, *(f'{100 * one:+.2f}%' for one in found)])} |")
    return "\n".join([*lines, "", ""])


def _plain(rounds: Sequence[Mapping[str, Figures]]) -> list[dict[str, Any]]:
    return [{name: asdict(figures) for name, figures in one.items()} for one in rounds]


def main() -> None:
    parser = argparse.ArgumentParser(description="All clients against a server with known timing.")
    parser.add_argument("--aiperf", type=Path)
    parser.add_argument("--servebench", type=Path)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--rate", type=float, default=4.0)
    parser.add_argument("--requests", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    others = {"aiperf": (asked.aiperf, aiperf.run), "servebench": (asked.servebench, servebench.run)}
    clients = [Client(OURS, ours.program(), ours.run)]
    clients += [Client(name, str(folder / name), run) for name, (folder, run) in others.items() if folder]
    found = []
    with start_timed(OPTIONS) as server:
        for load in (Streams(asked.streams), Rate(asked.rate)):
            work = Work(server.url, "timed", load, requests=asked.requests, prompt_tokens=32, output_tokens=32)
            found.append(hold(clients, work, asked.rounds, server))
    said = [held.said for held in found]
    arguments = {"requests": asked.requests, "rounds": asked.rounds}
    where = {"url": "a server with known timing", "version": OPTIONS, "models": []}
    content = as_json(said, TOLERANCE, machine(["locust"]), where, arguments)
    for held, load_json in zip(found, content["loads"], strict=True):
        load_json["true"] = _plain(held.true)
        load_json["off_by"] = {
            client: {figure: off_by(held, client, SAID, figure) for figure in TITLES} for client in held.true[0]
        }
        load_json["wire_off_by"] = {
            client: {figure: off_by(held, client, WIRE, figure) for figure in TITLES} for client in held.true[0]
        }
    if asked.output:
        asked.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join([*(markdown(held) for held in found), markdown_of_said(said, TOLERANCE)]))


if __name__ == "__main__":
    main()
