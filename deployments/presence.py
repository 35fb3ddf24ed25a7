"""Notices a replica that is not heard of any more, long before Ray does: its node is cut off, or its process hangs.

Every delta and every answer is a sign of life. A replica that gives none is asked for one, and when it stays silent
while another replica of its variant is heard, it is given up: its calls are asked of the others, and nothing new goes
to it until it is heard again. Where this is wrong, work is done twice; the tokens are the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from deployments.run import Run

log = logging.getLogger(__name__)

TICK_S = 0.25
ASK_S = 1.0  # without a sign of life before a replica is asked for one
SILENCE_S = 3.0  # without a sign of life before it is given up
QUESTIONS = 2  # that it must have left unanswered by then
RECENT_S = 1.5  # another replica of the variant must have been heard since

Key = tuple[str, str]
"""Model and variant."""

Ask = Callable[[Key], Awaitable[Collection[str]]]
"""Asks all replicas of a variant for a sign of life: the names of those that answered in a short time."""

Listed = Callable[[Key], Collection[str] | None]
"""The names of the replicas that requests may be sent to; None where that is not known."""


@dataclass(slots=True)
class Signs:
    """Of one replica: when it was heard last, by the clock of `Presence`, and questions left unanswered since."""

    heard_s: float
    unanswered: int = 0


def silent(replicas: Mapping[str, Signs], now_s: float) -> set[str]:
    """Those to give up: silent for long in spite of questions, while another one is heard.

    Were no other one heard, there would be nobody to ask instead, and it might as well be us who hear nothing.
    """
    if not any(now_s - one.heard_s <= RECENT_S for one in replicas.values()):
        return set()
    return {name for name, one in replicas.items() if now_s - one.heard_s >= SILENCE_S and one.unanswered >= QUESTIONS}


class Presence:
    """Used by one event loop. `shunned` is where the names of silent replicas are kept for whoever chooses replicas.

    Its clock runs only while this event loop turns: whoever was not listening cannot tell that nobody spoke.
    """

    def __init__(self, ask: Ask, listed: Listed, shunned: set[str]) -> None:
        self._ask = ask
        self._listed = listed
        self._shunned = shunned
        self._ended: set[str] = set()  # of these, the ones that said so themselves
        self._now_s = 0.0
        self._replicas: dict[Key, dict[str, Signs]] = {}
        self._runs: dict[Key, set[Run]] = {}
        self._asking: dict[Key, asyncio.Task[None]] = {}

    def begin(self, key: Key) -> Run:
        """A call to one of the variant's replicas, not chosen yet. End it with `end`."""
        run = Run(lambda name: self._sign(key, name))
        self._runs.setdefault(key, set()).add(run)
        return run

    def end(self, key: Key, run: Run) -> None:
        """The call is over, however it ended."""
        self._runs[key].discard(run)

    def heard(self, key: Key, names: Iterable[str]) -> None:
        """These replicas gave a sign of life."""
        for name in names:
            self._sign(key, name)

    def ended(self, key: Key, name: str) -> None:
        """This replica said that it has stopped working. It may live on for a while, but nothing is sent to it."""
        if name not in self._ended:
            log.warning("%s:%s: replica %s has stopped working; calls go elsewhere", *key, name)
        self._sign(key, name)
        self._ended.add(name)
        self._shunned.add(name)

    async def watch(self) -> None:
        """Looks again and again, for ever."""
        events = asyncio.get_running_loop()
        last_s = events.time()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = events.time()
            try:
                self.tick(now_s - last_s)
            except Exception:
                log.exception("whether replicas are heard cannot be told")
            last_s = now_s

    def tick(self, passed_s: float) -> None:
        """So much time passed since the last look; what is much over a tick does not count."""
        self._now_s += min(passed_s, 2 * TICK_S)
        for key, replicas in self._replicas.items():
            self._forget(key)
            if not self._runs.get(key):
                continue
            if key not in self._asking and any(self._now_s - one.heard_s >= ASK_S for one in replicas.values()):
                self._asking[key] = asyncio.ensure_future(self._question(key))
            working = {name: signs for name, signs in replicas.items() if name not in self._ended}
            for name in silent(working, self._now_s) - self._shunned:
                self._shun(key, name)

    def _sign(self, key: Key, name: str) -> None:
        signs = self._replicas.setdefault(key, {}).setdefault(name, Signs(0.0))
        signs.heard_s, signs.unanswered = self._now_s + TICK_S, 0  # it may be a tick younger than the clock
        if name in self._shunned and name not in self._ended:
            log.info("%s:%s: replica %s is heard again", *key, name)
            self._shunned.discard(name)

    def _forget(self, key: Key) -> None:
        """Drops those that requests are not sent to any more and that have none left."""
        listed = self._listed(key)
        if listed is None:
            return
        kept = {*listed, *(run.replica for run in self._runs.get(key, ()))}
        for name in [name for name in self._replicas[key] if name not in kept]:
            del self._replicas[key][name]
            self._shunned.discard(name)
            self._ended.discard(name)

    async def _question(self, key: Key) -> None:
        asked = dict(self._replicas[key])
        try:
            answered = await self._ask(key)
            self.heard(key, answered)
            for name, signs in asked.items():
                signs.unanswered += name not in answered
        except Exception:
            log.exception("the replicas of %s:%s cannot be asked for a sign of life", *key)
        finally:
            del self._asking[key]

    def _shun(self, key: Key, name: str) -> None:
        self._shunned.add(name)
        given_up = [run for run in self._runs[key] if run.replica == name]
        log.warning("%s:%s: nothing is heard of replica %s; %d calls go elsewhere", *key, name, len(given_up))
        for run in given_up:
            run.give_up()
