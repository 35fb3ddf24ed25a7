"""What the front door asks replicas of for operators who look into them: profiles and stacks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ray.serve.handle import DeploymentHandle

from cluster.pipeline.state import Meanwhile
from deployments.asking import answers
from deployments.profiles.ask import Key, ProfileAsk, Profiles
from deployments.profiles.gather import ReplicaProfile
from engine.stacks import stacks

MEANWHILE_S = 2.0
STACKS_S = 5.0  # a stage that hangs answers beside its work; one that is stopped does not

Ask = Callable[[Key, str], Awaitable[list[Any]]]


class Inspector:
    """`ask(key, method)` gives what the replicas of one variant answer."""

    def __init__(self, handles: Mapping[Key, DeploymentHandle[Any]], ask: Ask) -> None:
        self.handles = handles
        self.profiles = Profiles(list(handles), lambda key: ask(key, "describe"), self._profiled)

    async def profile(self, asked: ProfileAsk) -> bytes:
        """See `Profiles.profile`."""
        return await self.profiles.profile(asked)

    async def stacks(self) -> dict[str, str]:
        """Where all threads are: of this front door, and of the replicas and stages that answer, by their names."""
        asked = (answers(handle, "stacks", timeout_s=2 * STACKS_S) for handle in self.handles.values())
        found: dict[str, str] = {"front door": stacks()}
        for (model, variant), replicas in zip(self.handles, await asyncio.gather(*asked), strict=True):
            if replicas is None:
                found[f"{model}:{variant}"] = "None of its replicas answers."
            for replica in replicas or ():
                found |= {f"{model}:{variant} {name}": text for name, text in replica.items()}
        return found

    async def stages(self, key: Key, replica: str, start_s: float, end_s: float) -> list[Meanwhile]:
        """What the stages of the replica of this name did in a time by the wall clock; none where it is gone, does not
        answer, or computes by itself."""
        handle = self.handles.get(key)
        if handle is None:
            return []
        found = await answers(handle, "meanwhile", replica, start_s, end_s, timeout_s=MEANWHILE_S)
        return next((one for one in found or () if one is not None), [])

    async def _profiled(self, key: Key, replica: str, seconds: float, timeout_s: float) -> ReplicaProfile | None:
        found = await answers(self.handles[key], "profile", replica, seconds, timeout_s=timeout_s)
        return next((one for one in found or () if one is not None), None)
