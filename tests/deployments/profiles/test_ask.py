"""Whose profile is taken, one at a time, and what is said where it cannot be."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from cluster.pipeline.profile import StageProfile
from deployments.profiles.ask import Candidate, Key, ProfileAsk, Profiles, choose
from deployments.profiles.gather import ReplicaProfile
from engine.errors import Busy, EngineFailed, InvalidRequest, ModelNotFound
from engine.profiling import Part

IDLE = Candidate("m", "bf16", "aaaa1111", 11, 0)
BUSY = Candidate("m", "int8", "bbbb2222", 22, 3)
OTHER = Candidate("n", "fp32", "cccc3333", 33, 1)
FOUND = (IDLE, BUSY, OTHER)
EMPTY = gzip.compress(json.dumps({"traceEvents": [], "baseTimeNanoseconds": 0}).encode())


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (ProfileAsk(1.0), BUSY),
        (ProfileAsk(1.0, model="n"), OTHER),
        (ProfileAsk(1.0, model="m", variant="bf16"), IDLE),
        (ProfileAsk(1.0, replica="aaaa"), IDLE),
        (ProfileAsk(1.0, replica="33"), OTHER),
    ],
)
def test_the_replica_that_is_meant(asked: ProfileAsk, meant: Candidate) -> None:
    assert choose(FOUND, asked) == meant


def test_what_is_not_there_is_told_with_what_is() -> None:
    with pytest.raises(ModelNotFound, match="There are: m:bf16 aaaa1111, m:int8 bbbb2222, n:fp32 cccc3333"):
        choose(FOUND, ProfileAsk(1.0, model="n", replica="aaaa"))


async def described(key: Key) -> Sequence[Mapping[str, Any]]:
    return [{"replica": "aaaa1111", "pid": 11, "running": 0}] if key == ("m", "bf16") else []


async def taken(key: Key, replica: str, seconds: float, timeout_s: float) -> ReplicaProfile | None:
    lost = StageProfile("stage 0: layers 0-3", None, why="the actor died")
    return ReplicaProfile(replica, (StageProfile("replica aaaa1111", Part(11, {}, EMPTY)), lost))


async def test_one_trace_of_all_processes() -> None:
    profiles = Profiles([("m", "bf16"), ("n", "fp32")], described, taken)
    trace = json.loads(gzip.decompress(await profiles.profile(ProfileAsk(1.0))))
    assert trace["otherData"]["processes"] == ["m:bf16, replica aaaa1111", "m:bf16, stage 0: layers 0-3"]
    assert trace["otherData"]["notes"] == ["m:bf16, stage 0: layers 0-3 is missing: the actor died"]


async def test_one_at_a_time() -> None:
    begun, free = asyncio.Event(), asyncio.Event()

    async def slow(key: Key, replica: str, seconds: float, timeout_s: float) -> ReplicaProfile | None:
        begun.set()
        await free.wait()
        return await taken(key, replica, seconds, timeout_s)

    profiles = Profiles([("m", "bf16")], described, slow)
    first = asyncio.create_task(profiles.profile(ProfileAsk(1.0)))
    async with asyncio.timeout(30):
        await begun.wait()
        with pytest.raises(Busy, match="already"):
            await profiles.profile(ProfileAsk(1.0))
        free.set()
        await first
        await profiles.profile(ProfileAsk(1.0))


async def test_another_front_door_may_be_at_it() -> None:
    async def busy(key: Key, replica: str, seconds: float, timeout_s: float) -> ReplicaProfile | None:
        return ReplicaProfile(replica, busy="it is being profiled")

    with pytest.raises(Busy, match="it is being profiled"):
        await Profiles([("m", "bf16")], described, busy).profile(ProfileAsk(1.0))


async def test_a_replica_that_dies_meanwhile_is_told() -> None:
    async def gone(key: Key, replica: str, seconds: float, timeout_s: float) -> ReplicaProfile | None:
        return None

    profiles = Profiles([("m", "bf16")], described, gone)
    for _ in range(2):  # and the next one is not refused for it
        with pytest.raises(EngineFailed, match=r"Replica aaaa1111 of m:bf16 \(process 11\) ended while"):
            await profiles.profile(ProfileAsk(1.0))


@pytest.mark.parametrize("seconds", [0.0, -1.0, 31.0, float("nan")])
async def test_seconds_are_bounded(seconds: float) -> None:
    with pytest.raises(InvalidRequest, match="up to 30 seconds"):
        await Profiles([("m", "bf16")], described, taken).profile(ProfileAsk(seconds))
