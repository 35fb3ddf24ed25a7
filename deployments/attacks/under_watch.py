"""One attack on a server while honest callers ask it: what they notice, and what is left over afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from deployments.attacks.honest import TURNED_AWAY, Heard, honest_callers, ratios
from deployments.attacks.outcome import Outcome
from deployments.attacks.processes import Holdings, holdings, replicas, wait_idle
from deployments.attacks.scene import Scene

CALM_S = 5.0  # of honest calls alone, before and after
HONEST_S = 20.0  # an honest call that takes longer counts as hung
MOST_RATIO = 5.0  # of an honest call's median to what it was, where the attack asks for no work
SMALL_S = 0.25  # what an honest call may take longer in any case
MORE_MIB = 300  # that all processes together may keep
MORE_FILES = 100  # that they may keep open
SETTLE_S = 40.0
SMALL_PAUSE_S = 2.0
LIMIT_S = 300.0  # for an attack itself

Attack = Callable[[Scene], Awaitable[Outcome]]


def under_watch(attack: Attack, scene: Scene, *, works: bool = False) -> Outcome:
    """`works`: the attack asks for answers, so that honest callers share the machine with it and may be slower."""
    ran = replicas(scene)
    with honest_callers(scene) as heard:
        first_s = time.time()
        time.sleep(CALM_S)
        before, begin_s = holdings(scene), time.time()
        outcome = asyncio.run(_timed(attack, scene))
        end_s = time.time()
        time.sleep(SMALL_PAUSE_S)  # for what the attack asked for to end
        calm_s = time.time()
        time.sleep(CALM_S)
        last_s = time.time()
    calm, during = heard.between(first_s, begin_s), heard.between(begin_s, end_s)
    after = heard.between(calm_s, last_s)
    outcome.seen |= {
        "seconds": round(end_s - begin_s, 1),
        "honest": {"calls": len(heard.answers), "during": ratios(calm, during), "after": ratios(calm, after)},
        "honest turned away": heard.turned_away(),
        "slowest_honest_s": round(heard.slowest_s(), 2),
    }
    _judge(outcome, heard, calm, during, works=works)
    left = wait_idle(scene)
    outcome.check(not left, f"left at work: {'; '.join(left)}")
    _compare(outcome, scene, before, ran)
    return outcome


async def _timed(attack: Attack, scene: Scene) -> Outcome:
    try:
        async with asyncio.timeout(LIMIT_S):
            return await attack(scene)
    except TimeoutError:
        return Outcome(faults=[f"the attack was not over after {LIMIT_S:.0f} s"])


def _judge(outcome: Outcome, heard: Heard, calm: Heard, during: Heard, *, works: bool) -> None:
    # Who asks for much may fill a queue, and then others are told to come again; where no work is asked for, nobody is.
    faults = [fault for fault in heard.faults() if not (works and fault.endswith(TURNED_AWAY))]
    outcome.check(not faults, f"{len(faults)} honest calls failed, the first: {faults[:1]}")
    outcome.check(heard.slowest_s() <= HONEST_S, f"an honest call took {heard.slowest_s():.1f} s")
    if works:
        return
    for path in sorted({one[0] for one in calm.answers}):
        was, now = calm.median_s(path), during.median_s(path)
        if was is not None and now is not None:
            outcome.check(
                now <= max(MOST_RATIO * was, was + SMALL_S),
                f"honest {path} took {now:.2f} s where it had taken {was:.2f} s",
            )


def _compare(outcome: Outcome, scene: Scene, before: Holdings, ran: set[Any]) -> None:
    try:
        ready = httpx.get(f"{scene.url}/ready", headers=dict(scene.headers), timeout=20).status_code
    except httpx.HTTPError as error:
        outcome.faults.append(f"it does not answer any more: {type(error).__name__}")
        return
    outcome.check(ready == 200, f"/ready answers {ready}")
    outcome.check(replicas(scene) == ran, "a replica died")
    deadline = time.monotonic() + SETTLE_S
    while True:
        now = holdings(scene)
        more_files = now.total("files") - before.total("files")
        if more_files <= MORE_FILES or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    more_mib = now.total("mib") - before.total("mib")
    if before.mib:
        outcome.check(_named(now.mib) == _named(before.mib), f"processes changed: {sorted(now.mib)}")
        outcome.check(more_mib <= MORE_MIB, f"{more_mib} MiB more than before")
        outcome.check(more_files <= MORE_FILES, f"{more_files} files or connections more than before")
        outcome.seen |= {
            "mib": [before.total("mib"), now.total("mib")],
            "open_files": [before.total("files"), now.total("files")],
            "mib_of_each": {name: [before.mib.get(name, 0), mib] for name, mib in now.mib.items()},
        }


def _named(processes: Mapping[str, int]) -> set[str]:
    """The proxy is left out: at each change of its configuration another process takes over."""
    return {name for name in processes if not name.startswith("proxy")}
