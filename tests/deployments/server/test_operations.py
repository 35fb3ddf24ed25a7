"""What operators ask for, over the real path."""

from __future__ import annotations

from importlib.metadata import version

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.deployments.server.running import CHOICE, ROOMY, TEXTS, TIGHT, Server

pytestmark = [pytest.mark.ray, pytest.mark.model]


def metrics(server: Server) -> dict[tuple[str, str], float]:
    """Values by sample name and model, for the series that have no labels but the model's and the variant's."""
    text = httpx.get(f"{server.url}/metrics", timeout=30).raise_for_status().text
    return {
        (sample.name, sample.labels["model_name"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.keys() == {"model_name", "engine"} and sample.labels["engine"] == "bf16"
    }


def test_health_ready_and_version(server: Server) -> None:
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert httpx.get(f"{server.url}/ready").json() == {"status": "ready"}
    assert httpx.get(f"{server.url}/version").json() == {"version": version("stageline")}


def test_metrics_count_what_was_done(server: Server) -> None:
    before = metrics(server)
    assert server.complete(max_tokens=6).status_code == 200
    after = metrics(server)
    for name, more in {
        "vllm:generation_tokens_total": 6,
        "vllm:prompt_tokens_total": 4,
        "vllm:time_to_first_token_seconds_count": 1,
        "vllm:inter_token_latency_seconds_count": 5,
    }.items():
        assert after[name, ROOMY] - before.get((name, ROOMY), 0) == more, name
        assert after.get((name, TIGHT), 0) == before.get((name, TIGHT), 0), name
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
        assert after[f"vllm:{name}", ROOMY] == after[f"vllm:{name}", TIGHT] == 0, name


def test_a_browser_is_not_led_here_by_others(server: Server) -> None:
    body = {"model": ROOMY, "prompt": "Hi", "max_tokens": 1}
    for url, path in ((server.url, "v1/completions"), (server.state.admin_url, "admin/profile")):
        foreign = httpx.post(f"{url}/{path}", json=body, headers={"Origin": "https://elsewhere.example"})
        rebound = httpx.get(f"{url}/health", headers={"Host": "elsewhere.example:8000"})
        for answer in (foreign, rebound):
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")
    own = server.url.replace("127.0.0.1", "localhost").removeprefix("http://")
    told = httpx.post(
        f"{server.url}/v1/completions", json=body, headers={"Host": own, "Origin": f"http://{own}"}, timeout=60
    )
    assert told.status_code == 200


def test_tokens_there_and_back(server: Server) -> None:
    text = "Grüße aus Zürich, 東京 and 🦙!\n"
    told = httpx.post(f"{server.url}/tokenize", json={"model": ROOMY, "prompt": text, "return_token_strs": True}).json()
    assert told["count"] == len(told["tokens"]) == len(told["token_strs"])
    back = httpx.post(f"{server.url}/detokenize", json={"model": ROOMY, "tokens": told["tokens"]})
    assert back.json() == {"prompt": text}


def test_status(server: Server) -> None:
    models = httpx.get(f"{server.url}/status").json()["models"]
    assert [(model["name"], model["task"]) for model in models] == [
        (ROOMY, "text-generation"),
        (TIGHT, "text-generation"),
        (CHOICE, "text-generation"),
        *TEXTS.items(),
    ]
    assert all(model["variants"][0]["state"] == "ready" for model in models)
    replica = server.replica(TIGHT)
    assert replica["max_model_len"] == 1024
    assert replica["state"] == "ready"
    assert replica["pid"] != server.replica(ROOMY)["pid"]


def test_an_answer_has_one_request_id(server: Server) -> None:
    answer = httpx.get(f"{server.url}/health", headers={"X-Request-Id": "mine-1"})
    assert answer.headers.get_list("x-request-id") == ["mine-1"]
    assert len(httpx.get(f"{server.url}/nothing").headers.get_list("x-request-id")) == 1
