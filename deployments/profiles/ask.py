"""The front door's half of a profile: which replica, one at a time, and one trace of what its processes tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployments.profiles.merge import Process, merge_in_child
from engine.errors import Busy, EngineFailed, InvalidRequest, ModelNotFound

if TYPE_CHECKING:
    from deployments.profiles.gather import ReplicaProfile  # which brings torch and Ray

MOST_SECONDS = 30.0
GRACE_S = 150.0  # beside the profile's own seconds: to get ready, to write it down, to bring it here

Key = tuple[str, str]  # model, variant


@dataclass(frozen=True, slots=True)
class ProfileAsk:
    """What is wanted: of which model, variant and replica; None for whichever has the most to do. A replica is named by
    its id (or how that begins) or its process id."""

    seconds: float
    model: str | None = None
    variant: str | None = None
    replica: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A replica by what it tells of itself."""

    model: str
    variant: str
    replica: str
    pid: int
    running: int


def candidates(key: Key, described: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    """A variant's replicas, by their lines of `/status`."""
    return [Candidate(*key, str(one["replica"]), int(one["pid"]), int(one.get("running", 0))) for one in described]


def choose(found: Sequence[Candidate], asked: ProfileAsk) -> Candidate:
    """The replica that is meant; of several the one with the most to do. Raises ModelNotFound."""
    meant = [
        one
        for one in found
        if asked.model in (None, one.model)
        and asked.variant in (None, one.variant)
        and (asked.replica is None or one.replica.startswith(asked.replica) or str(one.pid) == asked.replica)
    ]
    if not meant:
        there = ", ".join(f"{one.model}:{one.variant} {one.replica}" for one in found) or "none"
        raise ModelNotFound(f"No replica that answers is like that. There are: {there}.", param="replica")
    return max(meant, key=lambda one: one.running)


class Profiles:
    """Takes one profile at a time. `describe` gives the lines of `/status` of a variant's replicas; `take` has the
    replica of a name profiled for some seconds, within a time, and gives None where it does not answer."""

    def __init__(
        self,
        keys: Sequence[Key],
        describe: Callable[[Key], Awaitable[Sequence[Mapping[str, Any]]]],
        take: Callable[[Key, str, float, float], Awaitable[ReplicaProfile | None]],
    ) -> None:
        self.keys = tuple(keys)
        self.describe = describe
        self.take = take
        self.taking = False

    async def profile(self, asked: ProfileAsk) -> bytes:
        """One Chrome trace, gzipped JSON, with a row for each process. Raises InvalidRequest, ModelNotFound, Busy and
        EngineFailed."""
        if not 0 < asked.seconds <= MOST_SECONDS:
            raise InvalidRequest(f"A profile takes up to {MOST_SECONDS:.0f} seconds.", param="seconds")
        if self.taking:
            raise Busy("A profile is being taken already; try again when it is done.")
        self.taking = True
        try:
            return await self._profile(asked)
        finally:
            self.taking = False

    async def _profile(self, asked: ProfileAsk) -> bytes:
        keys = [key for key in self.keys if asked.model in (None, key[0]) and asked.variant in (None, key[1])]
        found = [one for key in keys for one in candidates(key, await self.describe(key))]
        chosen = choose(found, asked)
        name = f"{chosen.model}:{chosen.variant}"
        taken = await self.take((chosen.model, chosen.variant), chosen.replica, asked.seconds, asked.seconds + GRACE_S)
        if taken is None:
            raise EngineFailed(
                f"Replica {chosen.replica} of {name} (process {chosen.pid}) ended while its profile was taken, or did "
                f"not answer within {asked.seconds + GRACE_S:.0f} s. Take another one: its successor answers soon."
            )
        if taken.busy:
            raise Busy(taken.busy)
        processes = [
            Process(
                f"{name}, {one.name}",
                one.part.pid if one.part else 0,
                one.part.threads if one.part else {},
                one.ahead_s,
                one.why,
            )
            for one in taken.processes
        ]
        return await merge_in_child(processes, [one.part.trace if one.part else None for one in taken.processes])
