"""A variant that sleeps, and wakes for a request, on a server of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployments.server.running import Server, start_with
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.model]

MODEL = "sleeper"


@pytest.fixture
def server(demo_model: Path, tmp_path: Path) -> Iterator[Server]:
    variants = [{"precision": "bf16"}, {"precision": "fp32", "replicas": {"min": 0, "max": 1, "idle_s": 2}}]
    model = {"name": MODEL, "source": str(demo_model), "kv_cache": "64MiB", "variants": variants}
    server = start_with({"models": [model]}, tmp_path)
    yield server
    server.stop()


def variants(server: Server) -> dict[str, dict[str, Any]]:
    (model,) = httpx.get(f"{server.url}/status", timeout=30).raise_for_status().json()["models"]
    return {variant["name"]: variant for variant in model["variants"]}


def asleep(server: Server) -> bool:
    sleeper = variants(server)["fp32"]
    return not sleeper["replicas"] and sleeper["state"] == "asleep"


def test_a_variant_falls_asleep_and_wakes_for_who_asks_for_it(server: Server) -> None:
    wait_until(lambda: asleep(server), "the variant sleeps")
    assert variants(server)["bf16"]["state"] == "ready"
    assert server.complete(model=MODEL, max_tokens=2).headers["X-Stageline-Variant"] == "bf16", "asking wakes nobody"
    answer = server.complete(model=f"{MODEL}:fp32", max_tokens=2)
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Stageline-Variant"] == "fp32"
    (replica,) = variants(server)["fp32"]["replicas"]
    assert all(replica[part] > 0 for part in ("process_s", "imports_s", "load_s"))
    wait_until(lambda: asleep(server), "the variant sleeps again")
