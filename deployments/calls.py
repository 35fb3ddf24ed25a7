"""Calls from the front door to the replicas, which outlive them: what dies with a replica is asked of another one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from deployments.load import Load
from deployments.losses import NOT_READY, cause_of, ended_replica, given_up, translated
from deployments.presence import Presence
from deployments.retries import Cause, GiveUp, Trials, after
from deployments.run import Run
from deployments.told import Told, rest, tells_loss
from engine.errors import Overloaded, ReplicaLost
from engine.request import Delta, Request

log = logging.getLogger(__name__)

ACCEPT_TIMEOUT_S = 30.0  # for a replica to take a request: time enough for one to be replaced

Handles = Mapping[tuple[str, str], DeploymentHandle[Any]]  # by (model, variant)
Item = str | Delta | tuple[Delta, Load]
"""See `GenerationReplica.told_generate`."""
Answer = str | tuple[Sequence[Any], Load | None]
"""See `ComputeReplica.told_compute`."""

T = TypeVar("T", Item, Answer)


@dataclass(frozen=True, slots=True)
class Replicas:
    """Those of all variants. `hear` takes (model, variant, a replica's load that came with an answer), `resumed`
    (model, variant, why) of a stream that goes on elsewhere."""

    handles: Handles
    presence: Presence
    hear: Callable[[str, str, Load], None]
    resumed: Callable[[str, str, Cause], None]

    def note_ended(self, key: tuple[str, str], error: Exception) -> None:
        """Sends no more to a replica that told that it had stopped working: Serve may not know it yet."""
        if (name := ended_replica(error)) is not None:
            self.presence.ended(key, name)


async def stream(replicas: Replicas, model: str, variant: str, request: Request) -> AsyncIterator[Delta]:
    """Deltas of one request. Closing the iterator aborts the request.

    When its replica is lost, another one of the same variant goes on after the last token; nothing shows but a pause.
    Raises what a replica says is wrong with the request, Overloaded where none takes it, and EngineFailed.
    """
    handle = replicas.handles[model, variant].options(
        stream=True, request_serialization="pickle", response_serialization="pickle"
    )
    told, trials = Told(request), started()
    while True:
        items: DeploymentResponseGenerator[Item]
        items = handle.told_generate.remote(told.request())  # type: ignore[assignment]
        run = replicas.presence.begin((model, variant))
        ended = taken = False
        failure: Exception = ReplicaLost("the replica ended this request without finishing it")
        try:
            await accepted(items, run, trials.until_s)
            taken = True
            while (item := await received(items, run)) is not None:
                if isinstance(item, str):
                    trials = trials.took()
                    continue
                delta: Delta | None
                delta, load = item if isinstance(item, tuple) else (item, None)
                if load is not None:
                    replicas.hear(model, variant, load)
                if delta.error is not None and tells_loss(delta):
                    failure, ended, delta = delta.error, True, rest(delta)
                    if delta is not None:
                        yield told.take(delta)
                    break
                else:
                    trials = trials.gained()
                    ended = delta.finished
                    yield told.take(delta)
                    if ended:
                        return
        except Exception as error:
            failure = error
        finally:
            replicas.presence.end((model, variant), run)
            if not ended:
                items.cancel()
        if (end := told.complete()) is not None:
            yield end
            return
        cause = cause_of(failure, taken)
        replicas.note_ended((model, variant), failure)
        trials = await next_trial(trials, cause, failure)
        if cause in ("died", "silent"):
            log.warning("%s:%s: a stream goes on elsewhere after %d tokens: %s", model, variant, told.tokens, failure)
            replicas.resumed(model, variant, cause)


async def compute(replicas: Replicas, model: str, variant: str, requests: Sequence[Any]) -> Sequence[Any]:
    """Outcomes of all requests, in order, from one of the variant's replicas; from another where that one is lost.

    What went wrong with one is in its `error`. Being cancelled aborts all. Raises Overloaded and EngineFailed.
    """
    handle = replicas.handles[model, variant].options(
        stream=True, request_serialization="pickle", response_serialization="pickle"
    )
    outcomes: dict[int, Any] = {}
    trials = started()
    while True:
        left = [i for i in range(len(requests)) if i not in outcomes]
        items: DeploymentResponseGenerator[Answer]
        items = handle.told_compute.remote(tuple(requests[i] for i in left))  # type: ignore[assignment]
        run = replicas.presence.begin((model, variant))
        ended = taken = False
        before = trials
        failure: Exception = ReplicaLost("the replica ended this call without answering it")
        try:
            await accepted(items, run, trials.until_s)
            taken = True
            while (item := await received(items, run)) is not None:
                if isinstance(item, str):
                    trials = trials.took()
                    continue
                ended = True
                found, load = item
                if load is not None:
                    replicas.hear(model, variant, load)
                missing = [outcome.error for outcome in found if is_missing(outcome.error, before)]
                pairs = zip(left, found, strict=True)
                outcomes |= {i: outcome for i, outcome in pairs if not is_missing(outcome.error, before)}
                if not missing:
                    return [outcomes[i] for i in range(len(requests))]
                trials = trials.gained() if len(missing) < len(left) else before
                failure = next((error for error in missing if isinstance(error, ReplicaLost)), missing[0])
                break
        except Exception as error:
            failure = error
        finally:
            replicas.presence.end((model, variant), run)
            if not ended:
                items.cancel()
        replicas.note_ended((model, variant), failure)
        trials = await next_trial(trials, cause_of(failure, taken), failure)
        log.warning("%s:%s: a call is asked of another replica: %s", model, variant, failure)


def is_missing(error: Exception | None, before: Trials) -> bool:
    """Whether what stands in a result's place says that another replica can compute it.

    One that is full has the last word only where no replica had taken the call before: who was taken waits for room.
    """
    return isinstance(error, ReplicaLost) or (before.taken and isinstance(error, Overloaded))


def started() -> Trials:
    """Of a request that has just come."""
    return Trials(asyncio.get_running_loop().time() + ACCEPT_TIMEOUT_S)


async def accepted(items: DeploymentResponseGenerator[Any], run: Run, until_s: float) -> None:
    """Waits until a replica took the request, at most until then by the event loop's clock.

    Serve itself would wait for ever: for a replica that cannot start again, or, where an application is removed, for
    one that will not. Raises Overloaded.
    """
    try:
        # What awaiting it begins with; no public name has it.
        await run.wait(items._fetch_future_result_async, until_s)
    except TimeoutError:
        raise Overloaded(NOT_READY, retry_after_s=5.0) from None


async def received(items: DeploymentResponseGenerator[T], run: Run) -> T | None:
    """The next item; None at the end."""
    try:
        item = await run.wait(items.__anext__)
    except StopAsyncIteration:
        return None
    run.sign(item if isinstance(item, str) else None)
    return item


async def next_trial(trials: Trials, cause: Cause | None, failure: Exception) -> Trials:
    """Waits until the request may be tried again. Raises what the caller is told where it may not."""
    if cause is None:
        raise translated(failure) from failure
    step = after(trials, cause, asyncio.get_running_loop().time(), ACCEPT_TIMEOUT_S)
    if isinstance(step, GiveUp):
        raise given_up(failure, step.deadly) from failure
    await asyncio.sleep(step.wait_s)
    return step.trials
