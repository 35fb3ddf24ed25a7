"""Holds all clients against the server with known timing: how far is each from what was sent, and when?

    python -m tests.loadtest.agreement.against_truth --aiperf VENV/bin --servebench VENV/bin --output truth.json

Each run is held against its own truth. TTFT in the server is from when it had read the request; a client counts the way
there as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.agreement import aiperf, ours, servebench
from loadtest.agreement.compare import OURS
from loadtest.agreement.figures import TITLES, Figures
from loadtest.agreement.rounds import WARM_UP, Client, drawn, run_one
from loadtest.agreement.table import title
from loadtest.agreement.work import Rate, Streams, Work
from loadtest.machine import machine
from tests.loadtest.conftest import Timed, start_timed

OPTIONS = "ttft=0.1..0.3,gap=0.02"


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


def held(clients: Sequence[Client], work: Work, rounds: int, server: Timed) -> dict[str, dict[str, Any]]:
    """For each client and figure: the median of what it says, of what was true, and of the difference as a share."""
    pairs: dict[str, list[tuple[Figures, Figures]]] = {client.name: [] for client in clients}
    for number in range(rounds):
        for turn in range(len(clients)):
            index = (number + turn) % len(clients)
            server.clear()
            said = run_one(clients[index], drawn(work, number, index))
            pairs[clients[index].name].append((said, true_figures(server.truth()[WARM_UP:])))
    return {
        name: {figure: _line(figure, of_rounds) for figure in TITLES} | {"rounds": [_plain(one) for one in of_rounds]}
        for name, of_rounds in pairs.items()
    }


def _line(figure: str, pairs: Sequence[tuple[Figures, Figures]]) -> dict[str, float]:
    values = [(float(getattr(said, figure)), float(getattr(true, figure))) for said, true in pairs]
    return {
        "said": statistics.median(said for said, _ in values),
        "true": statistics.median(true for _, true in values),
        "difference": statistics.median(said / true - 1 for said, true in values),
    }


def _plain(pair: tuple[Figures, Figures]) -> dict[str, Any]:
    return {"said": asdict(pair[0]), "true": asdict(pair[1])}


def markdown(found: Mapping[str, Mapping[str, dict[str, Any]]]) -> str:
    """A table for each load."""
    lines = []
    for load, clients in found.items():
        head = [load, *(cell for name in clients for cell in (name, "truth", "off by"))]
        lines += [f"| {' | '.join(head)} |", f"|---{'|---:' * (len(head) - 1)}|"]
        for figure, name in TITLES.items():
            cells = [name]
            for one in clients.values():
                line = one[figure]
                cells += [f"{line['said']:.2f}", f"{line['true']:.2f}", f"{100 * line['difference']:+.2f}%"]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


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
    found = {}
    with start_timed(OPTIONS) as server:
        for load in (Streams(asked.streams), Rate(asked.rate)):
            work = Work(server.url, "timed", load, requests=asked.requests, prompt_tokens=32, output_tokens=32)
            found[title(work)] = held(clients, work, asked.rounds, server)
    if asked.output:
        content = {"machine": machine(["locust"]), "server": OPTIONS, "loads": found}
        asked.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(markdown(found))


if __name__ == "__main__":
    main()
