"""What to do when a replica fails a request: ask another, after how long, or give up. Pure; `calls.py` acts on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

DEATHS_IN_A_ROW = 3  # without a new token between them: it may be the request that kills
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0  # Serve's router may hand a dead replica out again before it hears of it

Cause = Literal["died", "silent", "refused", "full"]
"""How a replica failed: it died over the request (or its engine did), it is not heard of any more, it never took the
request as its engine had ended before, or it has no room."""

CAUSES: tuple[Cause, ...] = ("died", "silent", "refused", "full")


@dataclass(frozen=True, slots=True)
class Trials:
    """What happened to one request so far. `until_s`: by when, on a monotonic clock, a replica must have taken it."""

    until_s: float
    deaths: int = 0  # in a row, of replicas that had it
    refusals: int = 0  # in a row, by replicas that did not take it
    taken: bool = False  # by any that was lost then: from then on the request is not turned away any more

    def gained(self) -> Trials:
        """A replica brought something new: whatever happens now is not the request's fault."""
        return replace(self, deaths=0, refusals=0) if self.deaths or self.refusals else self


@dataclass(frozen=True, slots=True)
class Again:
    """Ask another replica, in so many seconds."""

    trials: Trials
    wait_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """`deadly`: replica after replica died over it. Otherwise none took it in time."""

    deadly: bool


def after(trials: Trials, cause: Cause, now_s: float, patience_s: float) -> Again | GiveUp:
    """The next step. A request waits at most `patience_s` for a replica to take it, anew after each death.

    Only what died with the request counts against it. Replicas that refuse are no reason to give up before the time is
    over, for they are about to be replaced; but one that is full refuses a request that nobody has taken at once.
    """
    if cause in ("died", "silent"):
        deaths = trials.deaths + 1
        if deaths >= DEATHS_IN_A_ROW:
            return GiveUp(deadly=True)
        again = replace(trials, deaths=deaths, refusals=0, taken=True, until_s=now_s + patience_s)
        return Again(again, wait_s(deaths - 1))
    pause_s = wait_s(trials.refusals + 1)
    if (cause == "full" and not trials.taken) or now_s + pause_s > trials.until_s:
        return GiveUp(deadly=False)
    return Again(replace(trials, refusals=trials.refusals + 1), pause_s)


def wait_s(failures: int) -> float:
    """Before the next try, after so many failures in a row."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(failures - 1, 10)) if failures > 0 else 0.0
