"""The router as Serve gets it: sent by value, it must still share what this process knows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.config import RequestRouterConfig

from deployments import choosable
from deployments.app import ROUTER


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Any:
    kind: Any = RequestRouterConfig(request_router_class=ROUTER).get_request_router_class()  # type: ignore[arg-type]
    monkeypatch.setattr(choosable, "LISTED", {})
    router = kind.__new__(kind)
    router._deployment_id = SimpleNamespace(name="m--v")
    return router


def test_it_tells_this_process_whom_serve_has(router: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        PowerOfTwoChoicesRequestRouter,
        "update_replicas",
        lambda self, replicas: setattr(self, "_replicas", {one.replica_id: one for one in replicas}),
    )
    one = SimpleNamespace(replica_id=Hashable("a"))
    router.update_replicas([one])
    assert choosable.listed("m--v") == ["a"]
    router.update_replicas([])
    assert choosable.listed("m--v") == []


class Hashable:
    def __init__(self, unique_id: str) -> None:
        self.unique_id = unique_id
