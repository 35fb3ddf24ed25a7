"""The same with a slow link to one of two nodes, for all callers and for a single one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from deployments.benchmark.kept import Kept
from deployments.benchmark.node_measures import measure, say, scenario_for
from deployments.benchmark.node_servers import NodeServer
from deployments.benchmark.shapes import Shape
from deployments.benchmark.works import users_of
from loadtest.scenario import Scenario
from loadtest.turns import there_and_back

SLOW = Shape(2, "stages")
SLOWED = "node-2"
# A link that is not slowed, but goes the same way: what the process costs that stands in where there is no netem.
RELAY_ALONE_MS = 0.001


def slowed(
    server: NodeServer,
    scenario: Scenario,
    delays_ms: Sequence[float],
    seconds: float,
    turn: int,
    plain: Mapping[str, Any],
    console: Console,
    kept: Kept,
) -> list[dict[str, Any]]:
    """A sample for each delay and number of callers; `plain` is what was measured of all callers with the link as it
    is. The delays come in order and in reverse, round about."""
    everybody = users_of(scenario)
    samples = [{"round": turn, **plain, "delay_ms": 0.0, "relay": False, "callers": everybody}]
    conditions = [
        (delay_ms, users)
        for delay_ms in (0.0, RELAY_ALONE_MS, *delays_ms)
        for users in sorted({everybody, 1} - ({everybody} if not delay_ms else set()))
    ]
    for number, (delay_ms, users) in enumerate(there_and_back(conditions, turn)):
        server.cluster.slow(SLOWED, delay_ms=delay_ms)
        relay = server.cluster.network.place(SLOWED).relay is not None
        if delay_ms == RELAY_ALONE_MS and not relay:
            continue
        asked = scenario_for(scenario, seconds, seed=100 * turn + 50 + number, users=users)
        sample, records = measure(server, asked, idle_s=0.0)
        kept.requests(f"slow-{delay_ms:g}-ms-{users}-callers-{turn}", records)
        samples.append({"round": turn, **sample, "delay_ms": delay_ms, "relay": relay, "callers": users})
        say(console, turn, f"link of {SLOWED} +{delay_ms:g} ms, {users} callers", sample["rate"], scenario)
    server.cluster.slow(SLOWED, delay_ms=0)
    return samples
