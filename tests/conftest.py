from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from rich.console import Console

from deployments.cli.fetch import fetch_models
from deployments.settings import DEMO_CONFIG, load_settings
from engine.errors import SourceError

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_ray_by_accident(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that is not marked `ray` cannot start Ray, not even through something it calls."""
    if request.node.get_closest_marker("ray") is not None:
        return

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("this test started Ray without being marked with pytest.mark.ray")

    monkeypatch.setattr(ray, "init", refuse)


@pytest.fixture(autouse=True)
def _state_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees, or touches, the servers that run on this machine."""
    monkeypatch.setenv("STAGELINE_RUN", str(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="session")
def demo_models() -> dict[str, Path]:
    """The demo's models by name, fetched once into the ordinary cache. Where they cannot be had, tests are skipped."""
    try:
        return fetch_models(load_settings(DEMO_CONFIG), Console(stderr=True))
    except SourceError as error:
        pytest.skip(f"the demo models cannot be fetched here: {error}")


@pytest.fixture(scope="session")
def demo_model(demo_models: dict[str, Path]) -> Path:
    """The GGUF file that generates text."""
    return demo_models["smollm2"]
