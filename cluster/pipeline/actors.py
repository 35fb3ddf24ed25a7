"""Stages as Ray actors: starting them in a placement group, asking them, ending them for certain."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from cluster.pipeline.placement import Resources
from cluster.pipeline.stage import Born, StageWorker

log = logging.getLogger(__name__)

Actor = Any  # Ray's handle of a StageWorker
_remote: Any = ray.remote  # its types know no options
_CALLS = 8  # answered at once beside the long-running one
_PROBE_S = 0.5


@dataclass(frozen=True, slots=True)
class Room:
    """Where and how stages are started. `env` is set in their processes."""

    group: PlacementGroup
    first_bundle: int
    resources: Resources
    env: Mapping[str, str]


def start_stage(room: Room, index: int, *, spare: bool = False) -> Actor:
    """An actor in the bundle of the `index`-th stage; it reserves nothing of it where it is a spare."""
    resources = Resources(0, 0) if spare else room.resources
    options = {
        "num_cpus": resources.num_cpus,
        "num_gpus": resources.num_gpus,
        "max_restarts": 0,  # we start them again, in order with their links
        "max_concurrency": _CALLS,
        "runtime_env": {"env_vars": dict(room.env)},
        "scheduling_strategy": PlacementGroupSchedulingStrategy(room.group, room.first_bundle + index),
    }
    return _remote(**options)(StageWorker).remote()


def answers(calls: Mapping[int, Any], timeout_s: float) -> dict[int, Any]:
    """What calls by index came to within a time: a result or an exception, the very one where a stage raised it. Calls
    without an answer are missing."""
    refs = {call: index for index, call in calls.items()}
    ready, _ = ray.wait(list(refs), num_returns=len(refs), timeout=max(0.0, timeout_s)) if refs else ([], [])
    return {refs[call]: answer(call) for call in ready}


def answer(call: Any) -> Any:
    """The result or the exception of a call that is ready."""
    try:
        return ray.get(call, timeout=5.0)
    except RayTaskError as error:
        return error.cause if isinstance(error.cause, Exception) else error
    except (RayError, GetTimeoutError) as error:
        return error


def in_short(result: Any) -> str:
    """What a call came to, in a line; Ray writes pages."""
    return str(result).strip().partition("\n")[0].rstrip(".")


def end_stage(actor: Actor, born: Born | None) -> None:
    """Ends an actor, also one whose process is stopped or busy; returns before that is done."""
    ray.kill(actor, no_restart=True)
    if born is None:
        return
    # Ray asks a process first, and gives it 5 s. One that is stopped would keep its cores for so long.
    if born.node == ray.get_runtime_context().get_node_id():
        end_process(born.pid, born.created)
    else:
        there = NodeAffinitySchedulingStrategy(born.node, soft=False)
        _remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(end_process).remote(born.pid, born.created)


def end_process(pid: int, created: float) -> None:
    """Ends a process of this node, if it is still the one that was created then."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) < 1.0:
            os.kill(pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        pass


def wait_ended(actors: list[Actor], born: list[Born], timeout_s: float) -> None:
    """Waits until Ray knows that actors are dead, and until processes of this node are gone."""
    deadline = time.monotonic() + timeout_s
    answers(dict(enumerate(actor.born.remote() for actor in actors)), timeout_s)
    here = ray.get_runtime_context().get_node_id()
    for each in born:
        while each.node == here and _lives(each) and time.monotonic() < deadline:
            time.sleep(0.01)


def has_raised(result: Any) -> bool:
    """Whether a call came to an exception of the stage's own: it was reached, and will say the same again."""
    return isinstance(result, Exception) and not isinstance(result, RayError)


def node_addresses() -> dict[str, tuple[str, int]]:
    """Of the nodes by id: the address and the port at which Ray's daemon listens."""
    return {node["NodeID"]: (node["NodeManagerAddress"], int(node["NodeManagerPort"])) for node in ray.nodes()}


def reachable(address: tuple[str, int]) -> bool:
    """Whether a node's daemon can be connected to from here."""
    try:
        socket.create_connection(address, timeout=_PROBE_S).close()
    except OSError:
        return False
    return True


def _lives(born: Born) -> bool:
    try:
        process = psutil.Process(born.pid)
        return abs(process.create_time() - born.created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
