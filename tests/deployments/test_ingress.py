"""The front door's questions to replicas, without Serve."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest
from ray.exceptions import RayActorError

from deployments import ingress
from deployments.ingress import Ingress
from deployments.offers import Offer, OfferedVariant
from deployments.provision import VariantFiles
from deployments.settings import Http
from engine.errors import EngineFailed


class Question:
    """What asking a replica returns: awaited, it waits for ever, or raises or gives what it is told."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        async def answer() -> Any:
            if self.outcome is None:
                await asyncio.Event().wait()
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome

        return answer().__await__()

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """A variant's handle: a question is answered by the next of `outcomes`."""

    deployment_name = "m--v"

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.questions: list[Question] = []

    @property
    def describe(self) -> Any:
        def remote() -> Question:
            self.questions.append(Question(self.outcomes.pop(0)))
            return self.questions[-1]

        return type("Method", (), {"remote": staticmethod(remote)})


def front_door(handle: Handle) -> tuple[Ingress, Offer]:
    offer = Offer("m", "text-generation", VariantFiles.at(Path("unread")).base, (OfferedVariant("v"),))
    return Ingress([offer], {("m", "v"): cast(Any, handle)}, Http()), offer


async def test_a_replica_that_hangs_does_not_keep_its_model_from_being_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingress, "DESCRIBE_TIMEOUT_S", 0.01)
    handle = Handle(None, None, {"max_model_len": 7})
    door, offer = front_door(handle)
    assert await door.first_described(offer) == {"max_model_len": 7}
    assert [question.cancelled for question in handle.questions] == [True, True, False]


async def test_that_none_answers_is_told() -> None:
    door, offer = front_door(Handle(RayActorError()))
    with pytest.raises(EngineFailed, match="no replica answers"):
        await door.first_described(offer)
