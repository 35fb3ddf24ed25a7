"""The connections to one variant's replicas: one to each that Serve lists, made as soon as it does."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

from deployments.channels.channel import Channel, ChannelLost, connect
from deployments.channels.handshake import Doorway
from engine.errors import Overloaded

log = logging.getLogger(__name__)

FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 1.0  # while a replica is listed that cannot be reached
LOOK_S = 5.0  # between two looks while all is well: every change is told

Ask = Callable[[], Awaitable[Collection[Doorway]]]
"""Asks all replicas where they listen: those that answer in a short time."""

T = TypeVar("T")


class Channels:
    """Used by one event loop. `listed` gives the names of the replicas that requests may be sent to, None where that is
    not known; `shunned` are those that are not heard of; `wake` is called where somebody waits and there is none."""

    def __init__(
        self,
        ask: Ask,
        listed: Callable[[], Collection[str] | None],
        shunned: Collection[str],
        wake: Callable[[], None],
        most_waiting: int,
    ) -> None:
        self._ask = ask
        self._listed = listed
        self._shunned = shunned
        self._wake = wake
        self._most_waiting = most_waiting
        self._channels: dict[str, Channel] = {}
        self._look = asyncio.Event()
        self._came = asyncio.Condition()
        self._waiting = 0

    def changed(self) -> None:
        """The list is another one, or may be."""
        self._look.set()

    async def choose(self) -> Channel:
        """Of those that are heard of, one with the fewest calls under way; waits until there is one.

        Raises Overloaded where too many wait already.
        """
        channel = self._choice()
        if channel is not None:
            return channel
        if self._waiting >= self._most_waiting:
            raise Overloaded("too many requests are waiting already; try again later")
        self._waiting += 1
        self._wake()
        try:
            async with self._came:
                while (channel := self._choice()) is None:
                    await self._came.wait()
            return channel
        finally:
            self._waiting -= 1

    def _choice(self) -> Channel | None:
        listed = self._listed()
        usable = {name: one for name, one in self._channels.items() if listed is None or name in listed}
        return least(usable, self._shunned, lambda channel: channel.open)

    async def keep(self) -> None:
        """Connects to those that are listed, for ever."""
        retry_s = FIRST_RETRY_S
        while True:
            self._look.clear()
            try:
                missing = await self._connect_missing()
            except Exception:
                log.exception("the replicas cannot be asked where they listen")
                missing = True
            timeout_s = LOOK_S
            if missing:
                timeout_s, retry_s = retry_s, min(LONGEST_RETRY_S, 2 * retry_s)
            else:
                retry_s = FIRST_RETRY_S
            try:
                async with asyncio.timeout(timeout_s):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _connect_missing(self) -> bool:
        """Whether one is left."""
        missing = self._missing()
        if not missing:
            return False
        doorways = [one for one in await self._ask() if one.replica in missing]
        await asyncio.gather(*(self._connect(doorway) for doorway in doorways))
        return bool(self._missing())

    def _missing(self) -> set[str]:
        return set(self._listed() or ()) - self._channels.keys()

    async def _connect(self, doorway: Doorway) -> None:
        try:
            channel = await connect(doorway, self._lost)
        except ChannelLost as error:
            log.warning("%s", error)
            return
        if channel.lost:  # at once
            return
        self._channels[doorway.replica] = channel
        async with self._came:
            self._came.notify_all()

    def _lost(self, channel: Channel) -> None:
        if self._channels.get(channel.replica) is channel:
            del self._channels[channel.replica]
            self._look.set()


def least(named: Mapping[str, T], shunned: Collection[str], load: Callable[[T], int]) -> T | None:
    """One with the least load that is not shunned, by chance where several have; of all where all are shunned."""
    heard: Sequence[T] = [one for name, one in named.items() if name not in shunned] or list(named.values())
    fewest = min(map(load, heard), default=0)
    return random.choice([one for one in heard if load(one) == fewest]) if heard else None
