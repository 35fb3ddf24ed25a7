"""One call to a replica that can be given up from outside while somebody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class GivenUp(Exception):
    """The wait was ended from outside: nothing is heard of the replica any more."""


class Run:
    """`replica` is its name, None while it is not chosen. `sign` takes the name of one that lives."""

    __slots__ = ("_given_up", "_sign", "_waiting", "replica")

    def __init__(self, sign: Callable[[str], None] = lambda name: None) -> None:
        self.replica: str | None = None
        self._sign = sign
        self._given_up = False
        self._waiting: asyncio.Timeout | None = None

    def sign(self) -> None:
        """Something came of the replica."""
        assert self.replica is not None
        self._sign(self.replica)

    def give_up(self) -> None:
        """Ends the wait, and every later one."""
        self._given_up = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def wait(self, begin: Callable[[], Awaitable[T]], until_s: float | None = None) -> T:
        """What `begin()` comes to. Raises GivenUp, and TimeoutError at `until_s` of the event loop's clock."""
        if self._given_up:
            raise GivenUp("nothing is heard of the replica any more")
        try:
            async with asyncio.timeout_at(until_s) as self._waiting:
                return await begin()
        except TimeoutError:
            if self._given_up:
                raise GivenUp("nothing is heard of the replica any more") from None
            raise
        finally:
            self._waiting = None
