from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, cast

import pytest
from ray.exceptions import RayActorError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import DeploymentUnavailableError

from deployments import calls
from deployments.calls import Hear, accepted, compute, translated
from deployments.load import Load
from engine.errors import EngineFailed, InvalidRequest, Overloaded


def test_a_replicas_own_error_comes_through() -> None:
    own = InvalidRequest("no", param="x")
    assert translated(RayTaskError("generate", "a traceback", own)) is own
    assert translated(own) is own


def test_a_lost_replica_is_the_engines_failure() -> None:
    assert isinstance(translated(RayActorError()), EngineFailed)


def test_a_removed_deployment_is_no_fault() -> None:
    assert isinstance(translated(DeploymentUnavailableError(DeploymentID("m--bf16", "stageline"))), Overloaded)


def test_what_is_not_rays_stays_as_it_is() -> None:
    error = ValueError("x")
    assert translated(error) is error


class NeverTaken:
    async def _fetch_future_result_async(self) -> None:
        await asyncio.Event().wait()


async def test_a_request_that_no_replica_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "ACCEPT_TIMEOUT_S", 0.01)
    with pytest.raises(Overloaded, match="no replica"):
        await accepted(cast(Any, NeverTaken()))


class Answer:
    """What a handle's call returns: awaited, it gives the outcome of `work`."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.cancelled = False

    async def _fetch_future_result_async(self) -> None:
        await asyncio.sleep(0)

    def __await__(self) -> Generator[Any, None, Any]:
        async def outcome() -> Any:
            found = self.work()
            return await found if asyncio.iscoroutine(found) else found

        return outcome().__await__()

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """A variant's handle whose replicas double numbers; `faults` are raised by its first calls."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.answers: list[Answer] = []
        self.hang = False

    def options(self, **_: Any) -> Handle:
        return self

    @property
    def told_compute(self) -> Handle:
        return self

    def remote(self, numbers: tuple[int, ...]) -> Answer:
        def work() -> Any:
            if self.hang:
                return asyncio.Event().wait()
            if self.faults:
                raise self.faults.pop(0)
            return tuple(2 * number for number in numbers), Load("r", running=len(numbers))

        self.answers.append(Answer(work))
        return self.answers[-1]


def ask(handle: Handle, numbers: list[int], hear: Hear = lambda *heard: None) -> Any:
    return compute(cast(Any, {("m", "v"): handle}), hear, "m", "v", numbers)


async def test_the_load_that_comes_with_an_answer_is_heard() -> None:
    heard: list[tuple[str, str, Load]] = []
    assert await ask(Handle(), [1, 2, 3], lambda *told: heard.append(told)) == (2, 4, 6)
    assert heard == [("m", "v", Load("r", running=3))]


async def test_what_a_dead_replica_held_is_computed_by_another() -> None:
    handle = Handle(RayActorError())
    assert await ask(handle, [1, 2]) == (2, 4)
    assert len(handle.answers) == 2


async def test_a_second_death_is_told() -> None:
    with pytest.raises(EngineFailed):
        await ask(Handle(RayActorError(), RayActorError()), [1])


async def test_what_a_replica_says_itself_is_not_asked_twice() -> None:
    handle = Handle(RayTaskError("compute", "a traceback", InvalidRequest("no")))
    with pytest.raises(InvalidRequest):
        await ask(handle, [1])
    assert len(handle.answers) == 1


async def test_a_caller_who_goes_takes_the_call_along() -> None:
    handle = Handle()
    handle.hang = True
    task = asyncio.ensure_future(ask(handle, [1]))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [answer.cancelled for answer in handle.answers] == [True]
