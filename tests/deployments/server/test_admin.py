"""The operators' port of the real server."""

from __future__ import annotations

import httpx

from tests.deployments.server.running import LIMIT_S, Server


def test_operators_have_a_port_of_their_own(server: Server) -> None:
    assert server.state.admin_url.startswith("http://127.0.0.1:")
    assert server.state.admin_url != server.state.url
    with httpx.Client(base_url=server.state.admin_url, timeout=LIMIT_S) as admin:
        assert admin.get("/health").status_code == 200
        names = [model["name"] for model in admin.get("/status").json()["models"]]
        assert names == [model["name"] for model in httpx.get(f"{server.state.url}/status").json()["models"]]
        assert "stageline:variant_state" in admin.get("/metrics").text
        refused = admin.post("/v1/completions", json={"model": names[0], "prompt": "a"})
    assert refused.status_code == 404, "callers have the other one"
