from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from ray.exceptions import RayActorError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import DeploymentUnavailableError

from deployments.asking import answers


class Result:
    """Of one replica."""

    def __init__(self, answer: Callable[[], Awaitable[Any]]) -> None:
        self.get_async = answer
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    def __init__(self, *results: Result, failure: Exception | None = None) -> None:
        self.results, self.failure = results, failure

    def broadcast(self, method: str, *args: Any) -> Handle:
        return self

    async def _fetch_replica_results_async(self) -> list[Result]:
        if self.failure is not None:
            raise self.failure
        return list(self.results)


def says(word: str) -> Result:
    async def answer() -> str:
        return word

    return Result(answer)


def dead() -> Result:
    async def answer() -> str:
        raise RayActorError()

    return Result(answer)


def hanging() -> Result:
    async def answer() -> str:
        await asyncio.Event().wait()
        return "never"

    return Result(answer)


async def ask(*results: Result, failure: Exception | None = None) -> list[Any] | None:
    return await answers(cast(Any, Handle(*results, failure=failure)), "load", timeout_s=0.05)


async def test_one_that_hangs_or_is_dead_does_not_hide_the_others() -> None:
    late = hanging()
    assert await ask(says("a"), late, dead(), says("b")) == ["a", "b"]
    assert late.cancelled


async def test_nobody_in_time_is_not_nobody_at_all() -> None:
    assert await ask(hanging()) is None
    assert await ask() == []
    assert await ask(dead()) == []
    assert await ask(failure=DeploymentUnavailableError(DeploymentID("m", "stageline"))) == []
