"""How the baseline is put on Serve; nothing is started."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve

from deployments.benchmark import baseline
from deployments.benchmark.baseline_app import targets
from deployments.benchmark.works import SCENARIOS, WORKS, scenario_of, users_of
from deployments.cli.benchmark import OPTIMIZED_CONFIG
from deployments.settings import load_settings
from engine.errors import ConfigError

FILES = {"text-generation": Path("model"), "translation": Path("other")}


def test_whoever_waits_waits_in_the_replica_and_not_in_serves_router() -> None:
    settings = load_settings(OPTIMIZED_CONFIG)
    most = max(users_of(scenario_of(work, SCENARIOS, settings)) for work in WORKS)
    for target in targets(FILES, threads=1, most=1, replicas=1):
        deployment: Any = target.target
        assert deployment._bound_deployment.max_ongoing_requests >= 10 * most


class Serve:
    """Applications by name, instead of Ray Serve's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, running: dict[str, str]) -> None:
        self.running, self.ended = running, False
        for name in ("start", "run_many", "status", "delete", "shutdown"):
            monkeypatch.setattr(serve, name, getattr(self, name))
        monkeypatch.setattr(baseline, "_answers", lambda url: True)
        monkeypatch.setattr(baseline, "controller_runs", lambda: bool(running))

    def start(self, **options: Any) -> None:
        pass

    def run_many(self, wanted: list[serve.RunTarget], **options: Any) -> None:
        self.running |= {target.name: "RUNNING" for target in wanted}

    def status(self) -> Any:
        found = {name: SimpleNamespace(status=state, message="") for name, state in self.running.items()}
        return SimpleNamespace(applications=found)

    def delete(self, name: str) -> None:
        del self.running[name]

    def shutdown(self) -> None:
        self.ended = True


@pytest.mark.parametrize("others", [[], ["somebody's"]])
def test_on_a_cluster_it_ends_what_is_its_own_alone(monkeypatch: pytest.MonkeyPatch, others: list[str]) -> None:
    fake = Serve(monkeypatch, {})
    wanted = targets(FILES, threads=1, most=1, replicas=1)
    with baseline.serving(wanted, "127.0.0.1", 1, limit_s=5, leave_serve=False):
        assert set(fake.running) == {"text-generation", "translation", "health"}
        fake.running |= dict.fromkeys(others, "RUNNING")
    assert list(fake.running) == others
    assert fake.ended is (not others)


def test_it_refuses_a_cluster_that_serves_already(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Serve(monkeypatch, {"stageline": "RUNNING"})
    with (
        pytest.raises(ConfigError, match="runs Ray Serve already"),
        baseline.serving([], "127.0.0.1", 1, limit_s=5, leave_serve=False),
    ):
        pass
    assert (fake.running, fake.ended) == ({"stageline": "RUNNING"}, False)
