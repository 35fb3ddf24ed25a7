from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from deployments.benchmark import slow_links
from deployments.benchmark.nodes_table import slow_table
from deployments.benchmark.slow_links import SLOW, SLOWED, slowed
from deployments.benchmark.works import users_of
from loadtest.scenario import Scenario, load_scenario

GENERATION = load_scenario(Path("generation"))
PLAIN = {"rate": 100.0, "tpot_p50_ms": 20.0}


class Link:
    """Of a network whose links are slowed by a process that hands packets on."""

    def __init__(self) -> None:
        self.delay_ms = 0.0
        self.relay: object | None = None

    def slow(self, node: str, *, delay_ms: float) -> None:
        assert node == SLOWED
        self.delay_ms, self.relay = delay_ms, object() if delay_ms else None


def test_each_delay_is_asked_of_all_callers_and_of_one_and_stands_in_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link, kept = Link(), SimpleNamespace(requests=lambda name, records: names.append(name))
    names: list[str] = []

    def measure(server: Any, scenario: Scenario, idle_s: float) -> tuple[dict[str, Any], list[Any]]:
        return {"rate": users_of(scenario) * (10 - link.delay_ms), "tpot_p50_ms": 20.0}, []

    monkeypatch.setattr(slow_links, "measure", measure)
    network = SimpleNamespace(place=lambda node: link)
    server = cast(Any, SimpleNamespace(cluster=SimpleNamespace(slow=link.slow, network=network)))
    samples = []
    for turn in (1, 2):
        samples += slowed(server, GENERATION, [5.0], 1.0, turn, PLAIN, Console(quiet=True), cast(Any, kept))
    assert link.delay_ms == 0
    everybody = users_of(GENERATION)
    assert len(set(names)) == len(names) == 2 * (1 + 2 + 2)
    assert [sample["round"] for sample in samples] == [1] * 6 + [2] * 6
    table = slow_table({"shape": SLOW.name, "node": SLOWED, "samples": samples}, "tokens/s").splitlines()
    first_cells = [line.split(" | ")[:2] for line in table[2:]]
    assert first_cells == [
        [f"| {delay}", str(callers)] for callers in (everybody, 1) for delay in ("0 ms", "0 ms, handed on", "5 ms")
    ]
