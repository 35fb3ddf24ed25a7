"""A model in two variants: which one answers, and that load moves requests from one to the other and back."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.deployments.server.running import CHOICE, ROOMY, Server
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.model]


def variant_of(server: Server, **body: Any) -> str:
    answer = server.complete(**{"model": CHOICE, "prompt": "Hi", "max_tokens": 2, **body})
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Stageline-Variant"]


def quiet(server: Server) -> bool:
    return variant_of(server) == "fp32"


def steps(server: Server) -> Counter[str]:
    """Changes of the preferred variant, by their direction."""
    found: Counter[str] = Counter()
    for line in httpx.get(f"{server.url}/metrics", timeout=30).text.splitlines():
        if line.startswith("stageline:variant_steps_total{") and f'model_name="{CHOICE}"' in line:
            down = 'from="fp32"' in line
            found["down" if down else "up"] += round(float(line.rpartition(" ")[2]))
    return found


def test_a_pinned_variant_answers(server: Server) -> None:
    for variant in ("fp32", "bf16"):
        body = {"model": f"{CHOICE}:{variant}"}
        assert variant_of(server, **body) == variant
        with httpx.stream(
            "POST",
            f"{server.url}/v1/completions",
            json={**body, "prompt": "Hi", "max_tokens": 2, "stream": True},
            timeout=120,
        ) as answer:
            assert answer.headers["X-Stageline-Variant"] == variant
            answer.read()
    answer = server.complete(model=f"{CHOICE}:int3")
    assert answer.status_code == 404
    assert "Its variants: fp32, bf16" in answer.json()["error"]["message"]


def test_what_a_request_asks_of_its_variant(server: Server) -> None:
    wait_until(lambda: quiet(server), "the best variant answers")
    assert variant_of(server, min_quality=1.0) in ("fp32", "bf16")
    assert variant_of(server, variant_policy="fast") in ("fp32", "bf16")
    refused = server.complete(model=CHOICE, min_quality=1.5)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "min_quality"
    assert server.complete(model=CHOICE, variant_policy="cheap").status_code == 400


def test_models_tell_of_their_variants(server: Server) -> None:
    def shown() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{server.url}/v1/models/{CHOICE}", timeout=30).json()["variants"]
        return found

    # The model is offered as soon as one of them answers.
    wait_until(lambda: all(one["state"] == "ready" for one in shown()), "both are ready")
    assert [one["name"] for one in shown()] == ["fp32", "bf16"]
    assert [(one["quality"], one["replicas"]) for one in shown()] == [(1.0, 1)] * 2
    assert [one["measured"] for one in shown()] == [True, False]
    (only,) = httpx.get(f"{server.url}/v1/models/{ROOMY}", timeout=30).json()["variants"]
    assert only["name"] == "bf16"


def test_load_moves_requests_down_and_they_come_back(server: Server) -> None:
    wait_until(lambda: quiet(server), "the best variant answers")
    before = steps(server)

    def long(number: int) -> str:
        return variant_of(server, prompt=f"{number} " + "word " * 600, max_tokens=8)

    def moved() -> bool:
        with ThreadPoolExecutor(16) as callers:
            answered = Counter(callers.map(long, range(16)))
        return answered["bf16"] >= 2 and answered["fp32"] >= 1

    wait_until(moved, "both variants share the load")
    assert steps(server)["down"] > before["down"]
    wait_until(lambda: quiet(server), "the best variant answers again")
    wait_until(lambda: steps(server)["up"] > before["up"], "the best variant is preferred again")
    assert {variant_of(server) for _ in range(5)} == {"fp32"}
