"""A replica's half of a profile: its own process and those of its stages, all in the same seconds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.pipeline.profile import StageProfile
from deployments.pipelines import pipeline_of
from engine import profiling
from engine.errors import Busy
from engine.stacks import stacks

STACKS_S = 4.0


@dataclass(frozen=True, slots=True)
class ReplicaProfile:
    """All processes of a replica, its own first; or `busy`, where one of them is being profiled already."""

    replica: str
    processes: tuple[StageProfile, ...] = ()
    busy: str = ""


def profile_replica(replica: str, engine: object, seconds: float) -> ReplicaProfile:
    """Takes a profile for so long; the engine goes on meanwhile. Blocks. Raises EngineFailed for what is too large."""
    pipeline = pipeline_of(engine)
    stages = pipeline is not None
    try:
        with ThreadPoolExecutor(2, thread_name_prefix="profile") as pool:
            # All are ready before any begins, or what they do would not be of the same seconds.
            waiting = pool.submit(pipeline.prepare_profile) if pipeline else None
            profiling.prepare()
            if waiting is not None:
                waiting.result()
            there: Callable[[float], list[StageProfile]] = pipeline.profile if pipeline else lambda seconds: []
            theirs = pool.submit(there, seconds)
            name = f"replica {replica[:8]}" + (" (drives the stages)" if stages else "")
            own = StageProfile(name, profiling.take(seconds))
            return ReplicaProfile(replica, (own, *theirs.result()))
    except Busy as error:
        return ReplicaProfile(replica, busy=error.message)


def replica_stacks(replica: str, engine: object) -> dict[str, str]:
    """Where all threads of this process and of its stages are, by names of processes. Blocks."""
    name = f"replica {replica[:8]}"
    found = {name: stacks()}
    pipeline = pipeline_of(engine)
    if pipeline is not None:
        found |= {f"{name}, stage {i}": text for i, text in enumerate(pipeline.stacks(STACKS_S))}
    return found
