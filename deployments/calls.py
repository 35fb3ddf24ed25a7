"""Calls from the front door to the replicas, which outlive them: what dies with a replica is asked of another one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.asked import Asked
from deployments.channels.channel import Call
from deployments.channels.pool import Channels
from deployments.front_door.trail.record import Visit, begin_call
from deployments.load import Load
from deployments.logs import REQUEST_ID
from deployments.losses import NOT_READY, cause_of, given_up
from deployments.presence import Presence
from deployments.retries import Cause, GiveUp, Trials, after
from deployments.run import Run
from deployments.told import Told, rest, tells_loss
from engine.errors import Overloaded, ReplicaEnded, ReplicaLost
from engine.request import Delta, Request

log = logging.getLogger(__name__)

ACCEPT_TIMEOUT_S = 30.0  # for a replica to be there: time enough for one to be replaced


@dataclass(frozen=True, slots=True)
class Replicas:
    """Those of all variants, by (model, variant). `hear` takes (model, variant, a replica's load that came with an
    answer), `resumed` (model, variant, why) of a stream that goes on elsewhere."""

    channels: Mapping[tuple[str, str], Channels]
    presence: Presence
    hear: Callable[[str, str, Load], None]
    resumed: Callable[[str, str, Cause], None]

    def note_ended(self, key: tuple[str, str], error: Exception) -> None:
        """Sends no more to a replica that told that it had stopped working: Serve may not know it yet."""
        if isinstance(error, ReplicaEnded):
            self.presence.ended(key, error.replica)


async def stream(replicas: Replicas, model: str, variant: str, request: Request) -> AsyncIterator[Delta]:
    """Deltas of one request. Closing the iterator aborts the request.

    When its replica is lost, another one of the same variant goes on after the last token; nothing shows but a pause.
    Raises what a replica says is wrong with the request, Overloaded where none takes it, and EngineFailed.
    """
    key = model, variant
    told, trials, trail = Told(request), started(), begin_call()
    while True:
        asked, run, visit = told.request(), replicas.presence.begin(key), trail.visit()
        call: Call | None = None
        ended = False
        failure: Exception = ReplicaLost("the replica ended this request without finishing it")
        try:
            call = await begun(replicas.channels[key], run, asked, trials.until_s, visit)
            while (item := await received(call, run)) is not None:
                delta: Delta | None
                delta, load = item if isinstance(item, tuple) else (item, None)
                if load is not None:
                    replicas.hear(model, variant, load)
                if delta.timings is not None or not visit.first:
                    visit.heard(delta)
                visit.tokens += len(delta.tokens)
                if delta.error is not None and tells_loss(delta):
                    failure, ended, delta = delta.error, True, rest(delta)
                    if delta is not None:
                        yield told.take(delta)
                    break
                trials = trials.gained()
                ended = delta.finished
                yield told.take(delta)
                if ended:
                    return
        except Exception as error:
            failure = error
        finally:
            visit.ended = time.perf_counter()
            replicas.presence.end(key, run)
            if call is not None and not ended:
                call.cancel()
        if (end := told.complete()) is not None:
            yield end
            return
        cause = cause_of(failure)
        visit.cause = cause or ""
        replicas.note_ended(key, failure)
        trials = await next_trial(trials, cause, failure)
        if cause in ("died", "silent"):
            log.warning("%s:%s: a stream goes on elsewhere after %d tokens: %s", model, variant, told.tokens, failure)
            replicas.resumed(model, variant, cause)


async def compute(replicas: Replicas, model: str, variant: str, requests: Sequence[Any]) -> Sequence[Any]:
    """Outcomes of all requests, in order, from one of the variant's replicas; from another where that one is lost.

    What went wrong with one is in its `error`. Being cancelled aborts all. Raises Overloaded and EngineFailed.
    """
    key = model, variant
    outcomes: dict[int, Any] = {}
    trials, trail = started(), begin_call(len(requests))
    while True:
        left = [i for i in range(len(requests)) if i not in outcomes]
        asked, run, visit = tuple(requests[i] for i in left), replicas.presence.begin(key), trail.visit()
        call: Call | None = None
        ended = False
        failure: Exception = ReplicaLost("the replica ended this call without answering it")
        try:
            call = await begun(replicas.channels[key], run, asked, trials.until_s, visit)
            if (answer := await received(call, run)) is not None:
                ended = True
                found, load = answer
                visit.answered(found)
                if load is not None:
                    replicas.hear(model, variant, load)
                missing = [outcome.error for outcome in found if is_missing(outcome.error, trials)]
                pairs = zip(left, found, strict=True)
                outcomes |= {i: outcome for i, outcome in pairs if not is_missing(outcome.error, trials)}
                if not missing:
                    return [outcomes[i] for i in range(len(requests))]
                if len(missing) < len(left):
                    trials = trials.gained()
                failure = next((error for error in missing if isinstance(error, ReplicaLost)), missing[0])
        except Exception as error:
            failure = error
        finally:
            visit.ended = time.perf_counter()
            replicas.presence.end(key, run)
            if call is not None and not ended:
                call.cancel()
        cause = cause_of(failure)
        visit.cause = cause or ""
        replicas.note_ended(key, failure)
        trials = await next_trial(trials, cause, failure)
        log.warning("%s:%s: a call is asked of another replica: %s", model, variant, failure)


def is_missing(error: Exception | None, before: Trials) -> bool:
    """Whether what stands in a result's place says that another replica can compute it.

    One that is full has the last word only where no replica had the call before: who had a place waits for room.
    """
    return isinstance(error, ReplicaLost) or (before.taken and isinstance(error, Overloaded))


def started() -> Trials:
    """Of a request that has just come."""
    return Trials(asyncio.get_running_loop().time() + ACCEPT_TIMEOUT_S)


async def begun(channels: Channels, run: Run, asked: object, until_s: float, visit: Visit) -> Call:
    """Asks a replica; waits until there is one, at most until then by the event loop's clock. Raises Overloaded."""
    try:
        channel = await run.wait(channels.choose, until_s)
    except TimeoutError:
        raise Overloaded(NOT_READY, retry_after_s=5.0) from None
    run.replica = visit.replica = channel.replica
    visit.sent = time.perf_counter()
    return channel.call(Asked(asked, REQUEST_ID.get(), visit.traces))


async def received(call: Call, run: Run) -> Any:
    """The next part of the answer; None at the end."""
    try:
        item = await run.wait(call.next)
    except StopAsyncIteration:
        return None
    run.sign()
    return item


async def next_trial(trials: Trials, cause: Cause | None, failure: Exception) -> Trials:
    """Waits until the request may be tried again. Raises what the caller is told where it may not."""
    if cause is None:
        raise failure
    step = after(trials, cause, asyncio.get_running_loop().time(), ACCEPT_TIMEOUT_S)
    if isinstance(step, GiveUp):
        raise given_up(failure, step.deadly) from failure
    await asyncio.sleep(step.wait_s)
    return step.trials
