"""Runs a plan: pulls deltas from the engine, makes text of them, and sees that the engine is told when to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from deployments.front_door.deadline import in_time
from deployments.front_door.metrics import Metrics
from deployments.front_door.plan import Job, Plan
from deployments.front_door.text_state import ChoiceText, Piece
from deployments.front_door.trail.record import CURRENT
from engine.errors import DeadlineExceeded, EngineFailed, Overloaded
from engine.request import Delta, FinishReason

T = TypeVar("T")
Emit = Callable[[Job, Piece], Awaitable[None]]


class ClientGone(Exception):
    """The caller closed the connection; there is nobody left to answer."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do `work`, but cancel it when the caller leaves; raises `ClientGone` then. The body must have been read.

    Two tasks for the whole request, so that nothing has to be asked at each chunk.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if (record := CURRENT.get()) is not None:
            record.gone = True
        raise ClientGone
    finally:
        watch.cancel()
        task.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def run_plan(plan: Plan, metrics: Metrics, emit: Emit) -> None:
    """Compute every answer of a plan, all at once, and hand each piece to `emit` as it comes.

    When one fails, the others are aborted. Raises `DeadlineExceeded` and what the engine raises.
    """
    try:
        async with in_time(plan.target, plan.arrival, metrics):
            if len(plan.jobs) == 1:
                await _run_job(plan, plan.jobs[0], metrics, emit)
                return
            async with asyncio.TaskGroup() as group:
                for job in plan.jobs:
                    group.create_task(_run_job(plan, job, metrics, emit))
    except BaseException as error:
        first = first_error(error)
        if is_used(first):
            for job in plan.jobs:
                plan.target.caller.read(len(job.prompt.tokens), job.prompt_index)
        if first is error:
            raise
        raise first from None


def is_used(error: BaseException) -> bool:
    """Whether what a request asked for counts as used though it ended with this: its caller left or set too short a
    time, and a replica was at work. Else whoever leaves before the first token would use as much as he likes."""
    if not isinstance(error, asyncio.CancelledError | ClientGone | DeadlineExceeded):
        return False
    record = CURRENT.get()
    return record is not None and record.reached


def first_error(error: BaseException) -> BaseException:
    """What a group of exceptions began with."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run_job(plan: Plan, job: Job, metrics: Metrics, emit: Emit) -> None:
    model, variant = plan.target.model, plan.target.variant
    meter = metrics.meter(model.name, variant, len(job.prompt.tokens), plan.arrival.started, model.objective)
    text = ChoiceText(model.tokenizer, job.prompt, job.options)
    outcome = "error"
    deltas: AsyncIterator[Delta] | None = None
    try:
        deltas = _prompt_only(plan, job) if job.prompt_only else model.generate(variant, job.request)
        begun = False
        async for delta in deltas:
            if not begun:
                begun = True
                plan.target.ticket.begin(len(job.prompt.tokens))
                plan.target.caller.read(len(job.prompt.tokens), job.prompt_index)
            piece = text.push(delta)
            meter.progress(piece.tokens)
            plan.target.caller.wrote(piece.tokens)
            if piece.finish_reason is None:
                await emit(job, piece)
                continue
            outcome = piece.finish_reason
            meter.finish(delta.timings)
            if delta.finish_reason is None:  # a stop string: the engine does not know yet, and must not go on
                await _close(deltas)
            await emit(job, piece)
            return
        raise EngineFailed("The engine ended this request without finishing it. Try again.")
    except (asyncio.CancelledError, ClientGone):
        outcome = "abort"
        raise
    except Overloaded:
        metrics.rejected(model.name, variant, "overloaded")
        raise
    finally:
        meter.done(outcome)
        if deltas is not None:
            await _close(deltas)


async def _close(deltas: AsyncIterator[Delta]) -> None:
    close = getattr(deltas, "aclose", None)
    if close is not None:
        await close()


async def _prompt_only(plan: Plan, job: Job) -> AsyncIterator[Delta]:
    """One delta with what is known of the prompt, for `max_tokens` 0. The engine is asked only for logprobs."""
    if job.request.sampling.prompt_logprobs is None:
        yield Delta(finish_reason=FinishReason.LENGTH)
        return
    deltas = plan.target.model.generate(plan.target.variant, job.request)
    try:
        async for delta in deltas:
            yield delta
    finally:
        await _close(deltas)
