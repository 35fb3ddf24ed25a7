"""Replicas that answer calls as a test has them play, and the front door's side of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

from deployments.calls import Replicas, compute, stream
from deployments.channels.channel import ChannelLost
from deployments.load import Load
from deployments.presence import Presence
from engine.request import Delta, Request, SamplingParams

KEY = ("m", "v")
TOKENS = tuple(range(10, 18))
LOST_CHANNEL = ChannelLost("the connection to the replica has ended")
REQUEST = Request("r", (1, 2, 3), SamplingParams(max_tokens=len(TOKENS), prompt_logprobs=0, seed=5))


class Call:
    """What a channel's call returns: the parts of a play."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self.items = items
        self.cancelled = False

    async def next(self) -> Any:
        return await anext(self.items)

    def cancel(self) -> None:
        self.cancelled = True


Play = Callable[[Any], AsyncIterator[Any]]


class Replica:
    """All of a variant's: each call is answered by the next of `plays`, and the last one answers all that follow."""

    replica = "a"

    def __init__(self, *plays: Any) -> None:
        self.plays = list(plays)
        self.asked: list[Any] = []
        self.calls: list[Call] = []

    async def choose(self) -> Replica:
        await asyncio.sleep(0)
        return self

    def call(self, asked: Any) -> Call:
        asked = asked.what
        self.asked.append(asked)
        play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
        self.calls.append(Call(play(asked)))
        return self.calls[-1]


class Nobody:
    async def choose(self) -> None:
        await asyncio.Event().wait()


class World:
    def __init__(self, replica: Replica | Nobody) -> None:
        async def nobody(key: Any) -> tuple[str, ...]:
            return ()

        self.replica = cast(Replica, replica)
        self.heard: list[tuple[str, str, Load]] = []
        self.resumed: Counter[str] = Counter()
        self.presence = Presence(nobody, lambda key: None, set())
        self.replicas = Replicas(
            cast(Any, {KEY: replica}),
            self.presence,
            lambda *told: self.heard.append(told),
            lambda model, variant, cause: self.resumed.update([cause]),
        )

    def stream(self, request: Request = REQUEST) -> AsyncIterator[Delta]:
        return stream(self.replicas, *KEY, request)

    async def compute(self, numbers: Sequence[int]) -> Any:
        return await compute(self.replicas, *KEY, numbers)


def refuses(error: Exception) -> Play:
    async def play(asked: Any) -> AsyncIterator[Any]:
        for refused in (error,):
            raise refused
        yield

    return play
