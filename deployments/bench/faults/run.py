"""Streams on a cluster of real nodes, and one loss after another: no answer may differ from the undisturbed one."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.nodes.local_cluster import HEAD, LocalCluster, local_cluster
from deployments.bench.faults.bodies import bodies
from deployments.bench.faults.gaps import longest, median_of_longest, ran
from deployments.bench.faults.injuries import KINDS, LASTING, Injury, Kind, choose, inflict, undo
from deployments.bench.faults.leftovers import Holdings, holdings, left_over
from deployments.bench.faults.reader import Told
from deployments.bench.faults.streams import Streams, undisturbed
from deployments.bench.machine import provenance
from deployments.bench.node_server import found_parts, processes, served, status_of, wait_whole
from deployments.cli.fetch import fetch_models
from deployments.serving import local_environment
from deployments.settings import Settings
from engine.errors import EngineFailed

UNDO_AFTER_S = 8.0  # a node or link is away for so long
RECOVER_S = 90.0  # for all replicas to be whole again
WINDOW_S = 5.0  # after all is whole again, in which pauses still count as the injury's, and nothing else happens
POLL_S = 0.5
CLEAN_S = 60.0


@dataclass(frozen=True, slots=True)
class Trial:
    """`streams` at once, of some `tokens` tokens each; every kind of injury in turn, then any of them for `minutes`."""

    model: str
    streams: int
    tokens: int
    minutes: float
    nodes: int
    cpus: int
    seed: int
    kinds: tuple[Kind, ...] = KINDS


def bench_faults(settings: Settings, config: Path, trial: Trial, console: Console) -> dict[str, Any]:
    """Starts cluster and server, hurts them, compares every stream. Raises ConfigError where it cannot run here."""
    fetch_models(settings, console)
    console.print(f"Starting {trial.nodes} nodes ...")
    cpus = [0, *[trial.cpus] * (trial.nodes - 1)]
    # Nodes that end by themselves, as those do that were cut off, are started again, as an init system would do.
    with local_cluster(trial.nodes, cpus=cpus, environment=local_environment, supervise=True) as cluster:
        console.print("Starting the server ...")
        with served(cluster, config) as url:
            whole = wait_whole(url, trial.model, processes(settings, trial.model))
            console.print(
                f"{len(whole)} processes on {len({part.node for part in whole})} nodes. Undisturbed first ..."
            )
            return asyncio.run(_happen(cluster, url, trial, len(whole), console))


async def _happen(cluster: LocalCluster, url: str, trial: Trial, whole: int, console: Console) -> dict[str, Any]:
    nodes = {node.ip: name for name, node in cluster.nodes.items() if name != HEAD}
    wanted = bodies(trial.model, trial.streams, trial.tokens)
    calm = await undisturbed(url, wanted)
    for told in calm:
        if told.error:
            raise EngineFailed(f"A stream failed though nothing was done to it: {told.error}")
    console.print(f"Undisturbed: the longest pause was {longest(calm):.2f} s.")
    before = await asyncio.to_thread(holdings, cluster)
    draw = random.Random(trial.seed)
    injuries: list[Injury] = []
    async with Streams(url, wanted) as streams:
        await asyncio.sleep(WINDOW_S)
        for kind in trial.kinds:
            injuries += await _hurt(cluster, url, trial, kind, nodes, draw, whole, console)
            await asyncio.sleep(WINDOW_S)
        end_s = time.time() + 60 * trial.minutes
        while time.time() < end_s:
            injuries += await _hurt(cluster, url, trial, draw.choice(trial.kinds), nodes, draw, whole, console)
            await asyncio.sleep(draw.uniform(0.0, WINDOW_S))
    left = await asyncio.to_thread(wait_clean, cluster, url, trial.model, before)
    return {**result(trial, calm, streams.told, injuries), "callers_who_left": streams.left, "left_over": left}


def wait_clean(cluster: LocalCluster, url: str, model: str, before: Holdings) -> list[str]:
    """What is left over when some time has passed for all to end that is ending."""
    deadline = time.monotonic() + CLEAN_S
    while (left := left_over(before, holdings(cluster)) + at_work(url, model)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return left


def at_work(url: str, model: str) -> list[str]:
    """Replicas that still hold requests or blocks of the cache."""
    shown = next(one for one in status_of(url)["models"] if one["name"] == model)
    replicas = [replica for variant in shown["variants"] for replica in variant["replicas"]]
    busy = [one for one in replicas if one["running"] or one["waiting"] or one["kv_cache_usage"]]
    return [f"requests or blocks in the replica {one['pid']}" for one in busy]


async def _hurt(
    cluster: LocalCluster,
    url: str,
    trial: Trial,
    kind: Kind,
    nodes: dict[str, str],
    draw: random.Random,
    whole: int,
    console: Console,
) -> list[Injury]:
    """One injury, from the blow until all is as it was."""
    chosen = choose(kind, await asyncio.to_thread(found_parts, url, trial.model), nodes, draw)
    if chosen is None:
        return []
    node, part = chosen
    at = f"stage {part.stage} on {node}" if part.stage is not None else f"replica on {node}"
    injury = Injury(kind, node if kind in LASTING else at, time.time())
    await asyncio.to_thread(inflict, kind, cluster, node, part)
    if kind in LASTING:
        await asyncio.sleep(UNDO_AFTER_S)
        await asyncio.to_thread(undo, kind, cluster, node)
        injury.undone_s = time.time()
    deadline = time.monotonic() + RECOVER_S
    while time.monotonic() < deadline:
        found = await asyncio.to_thread(found_parts, url, trial.model)
        if len(found) >= whole and part.pid not in {one.pid for one in found}:
            injury.recovered_s = time.time()
            break
        await asyncio.sleep(POLL_S)
    else:
        injury.notes.append(f"not whole again after {RECOVER_S:.0f} s")
    after = "" if injury.recovered_s is None else f", whole again after {injury.recovered_s - injury.at_s:.1f} s"
    console.print(f"{kind} ({injury.target}){after}")
    return [injury]


def result(
    trial: Trial, calm: Sequence[Told], told: Sequence[tuple[int, Told]], injuries: Sequence[Injury]
) -> dict[str, Any]:
    """What it comes to. `changed` are streams that ended well and differ from the undisturbed one."""
    streams = [one for _, one in told]
    for injury, end_s in windows(injuries):
        injury.longest_gap_s = round(longest(streams, injury.at_s, end_s), 3)
        injury.median_gap_s = round(median_of_longest(streams, injury.at_s, end_s), 3)
        injury.streams = sum(ran(one, injury.at_s, injury.at_s) for one in streams)
    lost = [(index, one.error) for index, one in told if one.error]
    changed = [(index, one) for index, one in told if not one.error and one.content != calm[index].content]
    return {
        "benchmark": "faults",
        **provenance(),
        "trial": asdict(trial),
        "undisturbed": {"longest_gap_s": round(longest(calm), 3), "tokens": sum(one.tokens for one in calm)},
        "streams": len(told),
        "tokens": sum(one.tokens for one in streams),
        "lost": len(lost),
        "changed": len(changed),
        "longest_gap_s": round(longest(streams), 3),
        "injuries": [asdict(injury) for injury in injuries],
        "lost_streams": lost[:20],
        "changed_streams": [
            {"undisturbed": repr(calm[index].content)[:2000], "told": repr(one.content)[:2000]}
            for index, one in changed[:20]
        ],
        "arrivals": _per_second(streams),
    }


def windows(injuries: Sequence[Injury]) -> Iterator[tuple[Injury, float]]:
    """Each with until when pauses are its own: until all is whole again and some time more, or the next one comes."""
    for index, injury in enumerate(injuries):
        end_s = max(injury.at_s, injury.recovered_s or 0.0) + WINDOW_S
        yield injury, min(end_s, injuries[index + 1].at_s) if index + 1 < len(injuries) else end_s


def _per_second(streams: Sequence[Told]) -> dict[str, Any]:
    """Events that came in each second, from the first on."""
    times = [at for told in streams for choice in told.choices.values() for at in choice.arrivals]
    if not times:
        return {"begin_s": 0.0, "events": []}
    begin = min(times)
    events = [0] * (int(max(times) - begin) + 1)
    for at in times:
        events[int(at - begin)] += 1
    return {"begin_s": begin, "events": events}
