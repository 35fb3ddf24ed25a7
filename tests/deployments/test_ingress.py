from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from ray.exceptions import RayActorError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import DeploymentUnavailableError

from deployments import ingress
from deployments.ingress import accepted, translated
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
    monkeypatch.setattr(ingress, "ACCEPT_TIMEOUT_S", 0.01)
    with pytest.raises(Overloaded, match="no replica"):
        await accepted(cast(Any, NeverTaken()))
