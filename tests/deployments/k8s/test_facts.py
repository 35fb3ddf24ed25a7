from __future__ import annotations

import re
from pathlib import Path

import pytest

from deployments.k8s.facts import RAY_PATHS, SECRETS, gather, is_importable, with_secrets
from engine.errors import ConfigError


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("deployments.kuberay:application", True),
        ("deployments.kuberay:applicaton", False),
        ("deployments.kuberai:application", False),
        ("deployments.kuberay", False),
        ("no_such_package.module:name", False),
        ("", False),
    ],
)
def test_import_paths_are_looked_up_without_importing(path: str, there: bool) -> None:
    assert is_importable(path) is there


def test_what_ray_reads_is_known_from_its_own_files() -> None:
    facts = gather()
    read = ["RAY_SERVE_ENABLE_HA_PROXY", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "RAY_health_check_period_ms"]
    assert [name for name in read if not facts.ray_reads(name)] == []
    assert not facts.ray_reads("RAY_health_check_perod_ms")


def test_rays_metrics_are_known_from_its_own_files() -> None:
    facts = gather()
    measured = ["ray_node_cpu_utilization", "ray_serve_num_http_requests_total", "ray_actors"]
    assert [name for name in measured if not facts.ray_measures(name)] == []
    assert not facts.ray_measures("ray_node_cpu")


def test_rays_agent_has_the_paths_that_are_asked_for() -> None:
    import ray

    agent = Path(ray.__file__).parent / "dashboard" / "modules" / "reporter" / "healthz_agent.py"
    assert set(re.findall(r'routes\.get\("([^"]+)"\)', agent.read_text(encoding="utf-8"))) == RAY_PATHS[52365]


def test_secrets_of_ones_own_come_beside_the_project_s() -> None:
    secrets = with_secrets(gather(), ["a=b", "a=c", "stageline-redis=user"]).secrets
    assert secrets["a"] == {"b", "c"}
    assert secrets["stageline-redis"] == {"password", "user"}
    assert secrets["stageline-ray-token"] == {"auth_token"}
    assert "a" not in gather().secrets


@pytest.mark.parametrize("said", ["a", "a=", "=b", ""])
def test_a_secret_is_said_with_its_key(said: str) -> None:
    with pytest.raises(ConfigError, match="NAME=KEY"):
        with_secrets(gather(), [said])


def test_the_rest_comes_from_this_project() -> None:
    facts = gather()
    assert facts.port == 8000
    assert facts.switches["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
    assert "STAGELINE_CACHE" in facts.our_variables
    assert facts.in_package("demo/en-de")
    assert not facts.in_package("demo/en-fr")
    assert SECRETS["stageline-ray-token"] == {"auth_token"}
