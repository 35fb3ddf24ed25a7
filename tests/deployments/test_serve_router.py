"""The router as Serve gets it: sent by value, it must still share what this process knows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.config import RequestRouterConfig

from deployments import choosable
from deployments.app import ROUTER


def replica(name: str) -> Any:
    return SimpleNamespace(replica_id=SimpleNamespace(unique_id=name))


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Any:
    kind: Any = RequestRouterConfig(request_router_class=ROUTER).get_request_router_class()  # type: ignore[arg-type]
    monkeypatch.setattr(choosable, "SHUNNED", set())
    monkeypatch.setattr(choosable, "LISTED", {})
    router = kind.__new__(kind)
    router._deployment_id = SimpleNamespace(name="m--v")
    return router


async def test_it_leaves_out_whom_this_process_shuns(router: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = replica("a"), replica("b")

    async def both(self: Any, candidates: Any, pending: Any = None) -> Any:
        return [[a, b]]

    monkeypatch.setattr(PowerOfTwoChoicesRequestRouter, "choose_replicas", both)
    assert await router.choose_replicas([a, b]) == [[a, b]]
    choosable.SHUNNED.add("a")
    assert await router.choose_replicas([a, b]) == [[b]]


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
