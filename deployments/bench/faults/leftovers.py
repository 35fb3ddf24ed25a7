"""What a cluster holds, to be held against what it held before: what is more is left over.

    python -m deployments.bench.faults.leftovers ADDRESS

run inside a node's namespace, prints what Ray knows of, as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from dataclasses import dataclass

import psutil

from cluster.nodes.local_cluster import HEAD, LocalCluster
from engine.errors import EngineFailed

ASK_S = 60.0
OURS = ("ray::StageWorker", "ray::ServeReplica")


@dataclass(frozen=True, slots=True)
class Holdings:
    """Placement groups that are there, actors that live by their class, processes by their title, and the ports at
    which stages and replicas listen."""

    groups: int
    actors: dict[str, int]
    processes: dict[str, int]
    ports: int


def holdings(cluster: LocalCluster) -> Holdings:
    """What the cluster holds now. Raises EngineFailed where Ray does not say."""
    command = [sys.executable, "-m", "deployments.bench.faults.leftovers", cluster.address]
    asked = cluster.run(HEAD, command, stdout=-1, stderr=-1, text=True)
    told, words = asked.communicate(timeout=ASK_S)
    if asked.returncode:
        raise EngineFailed(f"Ray does not say what it holds: {words.strip().splitlines()[-1:]}")
    ray = json.loads(told.splitlines()[-1])
    processes: Counter[str] = Counter()
    ports = 0
    for process in cluster.processes():
        try:
            title = " ".join(process.cmdline())
            kind = next((one for one in OURS if title.startswith(one)), None)
            if kind is not None:
                processes[kind] += 1
                ports += sum(one.status == psutil.CONN_LISTEN for one in process.net_connections("tcp"))
        except psutil.Error:
            continue
    return Holdings(ray["groups"], ray["actors"], dict(processes), ports)


def left_over(before: Holdings, after: Holdings) -> list[str]:
    """What is there after that was not there before, in words."""
    found = []
    if after.groups > before.groups:
        found.append(f"{after.groups - before.groups} placement groups")
    for what, then, now in (
        ("actors", before.actors, after.actors),
        ("processes", before.processes, after.processes),
    ):
        found += [f"{now[kind] - then.get(kind, 0)} {what} {kind}" for kind in now if now[kind] > then.get(kind, 0)]
    if after.ports > before.ports:
        found.append(f"{after.ports - before.ports} listening ports")
    return found


def _main(address: str) -> None:
    import ray
    from ray._private import state
    from ray.util import placement_group_table

    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    groups = [one for one in placement_group_table().values() if one["state"] != "REMOVED"]
    alive = [one for one in state.actors().values() if one["State"] == "ALIVE"]
    print(json.dumps({"groups": len(groups), "actors": Counter(one["ActorClassName"] for one in alive)}))


if __name__ == "__main__":
    _main(sys.argv[1])
