"""Holds all clients against the server with known timing: how far is each from what was sent when, and from ours?

    python -m tests.loadtest.agreement.against_truth --aiperf VENV/bin --servebench VENV/bin --output truth.json

Each run is held against its own truth. TTFT in the server is from when it had read the request; a client counts the way
there as well. The server takes six requests at a time, so that an open loop has to wait in it now and then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.agreement import aiperf, ours, servebench
from loadtest.agreement.compare import OURS, Round
from loadtest.agreement.figures import TITLES, Figures
from loadtest.agreement.rounds import WARM_UP, Client, drawn, run_one
from loadtest.agreement.table import Compared, as_json, title
from loadtest.agreement.table import markdown as markdown_of_said
from loadtest.agreement.work import Rate, Streams, Work
from loadtest.machine import machine
from tests.loadtest.conftest import Timed, start_timed

OPTIONS = "ttft=0.1..0.3,gap=0.02,serial=6"
TOLERANCE = 0.05


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
    true: list[Round]


def hold(clients: Sequence[Client], work: Work, rounds: int, server: Timed) -> Held:
    """The clients in turns; each finds the server as if nobody had asked it yet."""
    said: list[Round] = []
    true: list[Round] = []
    for number in range(rounds):
        pairs = {}
        for turn in range(len(clients)):
            index = (number + turn) % len(clients)
            server.clear()
            figures = run_one(clients[index], drawn(work, number, index))
            pairs[clients[index].name] = figures, true_figures(server.truth()[WARM_UP:])
        said.append({client.name: pairs[client.name][0] for client in clients})
        true.append({client.name: pairs[client.name][1] for client in clients})
    return Held(Compared(work, said), true)


def off_by(held: Held, client: str, figure: str) -> float:
    """The median of how far what the client said was from the truth, as a share of it."""
    pairs = [
        (float(getattr(said[client], figure)), float(getattr(true[client], figure)))
        for said, true in zip(held.said.rounds, held.true, strict=True)
    ]
    return statistics.median(said / true - 1 for said, true in pairs)


def markdown(held: Held) -> str:
    """How far each is from the truth."""
    names = list(held.true[0])
    head = [f"{title(held.said.work)}: off by", *names]
    lines = [f"| {' | '.join(head)} |", f"|---{'|---:' * len(names)}|"]
    for figure, name in TITLES.items():
        cells = [name, *(f"{100 * off_by(held, client, figure):+.2f}%" for client in names)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", ""])


def _plain(rounds: Sequence[Round]) -> list[dict[str, Any]]:
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
    content = as_json(said, TOLERANCE, machine(["locust"]))
    for held, load_json in zip(found, content["loads"], strict=True):
        load_json["true"] = _plain(held.true)
        load_json["off_by"] = {
            client: {figure: off_by(held, client, figure) for figure in TITLES} for client in held.true[0]
        }
    content["server"] = OPTIONS
    if asked.output:
        asked.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join([*(markdown(held) for held in found), markdown_of_said(said, TOLERANCE)]))


if __name__ == "__main__":
    main()
