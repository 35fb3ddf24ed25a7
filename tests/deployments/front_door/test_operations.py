from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployments.front_door.app import create_app
from deployments.front_door.metrics_merge import page_of
from deployments.front_door.service import Service
from engine.errors import Overloaded
from tests.deployments.front_door.encoder_fakes import FakeEncoder, embedder
from tests.deployments.front_door.fakes import EOS, FakeEngine, make_service

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def samples_of(page: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def client_of(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(service)), base_url="http://test")


async def test_health_version_status(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/version")).json() == {"version": "1.2.3"}
    assert (await client.get("/status")).json() == {"models": ["tiny"]}


async def test_ready(engine: FakeEngine) -> None:
    ready = False
    async with client_of(make_service(engine, ready=lambda: ready)) as client:
        response = await client.get("/ready")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json()["error"]["code"] == 503
        ready = True
        assert (await client.get("/ready")).status_code == 200


async def test_models(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/models")).json()
    assert body["object"] == "list"
    assert [card["id"] for card in body["data"]] == ["tiny", "tiny:bf16", "tiny:fp32"]
    assert body["data"][0]["max_model_len"] == 1024
    assert body["data"][0]["owned_by"] == "stageline"
    assert body["data"][1]["parent"] == "tiny"
    assert (await client.get("/v1/models/tiny")).json() == body["data"][0]
    assert (await client.get("/v1/models/tiny:fp32")).json() == body["data"][2]
    assert (await client.get("/v1/models/tiny:int3")).status_code == 404
    assert (await client.get("/v1/models/other")).json()["error"]["param"] == "model"


async def test_model_name_with_a_slash(engine: FakeEngine) -> None:
    async with client_of(make_service(engine, name="org/tiny")) as client:
        assert (await client.get("/v1/models/org/tiny")).json()["id"] == "org/tiny"
        assert (await client.get("/v1/models/org/tiny:bf16")).json()["id"] == "org/tiny:bf16"


async def test_model_of_another_task(engine: FakeEngine) -> None:
    async with client_of(make_service(engine, models={"vectors": embedder(FakeEncoder())})) as client:
        response = await client.post("/v1/completions", json={"model": "vectors", "prompt": "Hi"})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "model"
        assert "/v1/embeddings" in response.json()["error"]["message"]
        assert (await client.post("/v1/completions", json={"prompt": "Hi"})).status_code == 400


@pytest.mark.parametrize("given", ["req-1", "0af7651916cd43dd8448eb211c80319c", "a:b/c_d.e"])
async def test_request_id_is_echoed(client: httpx.AsyncClient, given: str) -> None:
    for path in ("/health", "/nothing", "/v1/models/none"):
        assert (await client.get(path, headers={"X-Request-Id": given})).headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "é", "a\tb"])
async def test_request_id_is_made(client: httpx.AsyncClient, given: str) -> None:
    response = await client.get("/health", headers={b"X-Request-Id": given.encode("latin-1")})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


async def test_authorization_is_accepted(client: httpx.AsyncClient) -> None:
    headers = {"Authorization": "Bearer anything"}
    assert (await client.post("/v1/completions", json={"prompt": "Hi"}, headers=headers)).status_code == 200


async def test_tokenize(client: httpx.AsyncClient) -> None:
    body = (await client.post("/tokenize", json={"model": "tiny", "prompt": "Hé", "return_token_strs": True})).json()
    assert body == {
        "count": 3,
        "max_model_len": 1024,
        "tokens": [72, 0xC3, 0xA9],
        "token_strs": ["H", "\ufffd", "\ufffd"],
    }
    messages = [{"role": "user", "content": "Hi"}]
    chat = (await client.post("/tokenize", json={"messages": messages})).json()
    assert chat["count"] == len("user: Hi\nassistant: ") + 1
    assert chat["token_strs"] is None
    bare = (await client.post("/tokenize", json={"messages": messages, "add_generation_prompt": False})).json()
    assert bare["count"] == len("user: Hi\n") + 1
    assert (await client.post("/tokenize", json={"prompt": ""})).json()["tokens"] == []


async def test_tokenize_takes_what_is_longer_than_the_context(client: httpx.AsyncClient) -> None:
    body = (await client.post("/tokenize", json={"prompt": "xy" * 4096, "return_token_strs": True})).json()
    assert body["count"] == 8192
    assert body["tokens"] == [120, 121] * 4096  # made in a thread, part by part
    assert body["token_strs"] == ["x", "y"] * 4096


async def test_what_no_context_takes_is_not_turned_into_tokens(client: httpx.AsyncClient) -> None:
    long = "x" * 20_000  # 1,024 tokens of at most four characters
    for body in ({"prompt": long}, {"messages": [{"role": "user", "content": long}]}):
        answer = await client.post("/tokenize", json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
        assert error["param"] in body
    answer = await client.post("/detokenize", json={"tokens": [72] * 1024})
    assert answer.json() == {"prompt": "H" * 1024}
    answer = await client.post("/detokenize", json={"tokens": [72] * 1025})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "tokens")


async def test_detokenize(client: httpx.AsyncClient) -> None:
    body = (await client.post("/detokenize", json={"model": "tiny", "tokens": [72, 0xC3, 0xA9, EOS]})).json()
    assert body == {"prompt": "Hé</s>"}
    assert (await client.post("/detokenize", json={"tokens": []})).json() == {"prompt": ""}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {}),
        ("/tokenize", {"prompt": "a", "messages": []}),
        ("/tokenize", {"prompt": 5}),
        ("/tokenize", {"model": "none", "prompt": "a"}),
        ("/detokenize", {"tokens": [258]}),
        ("/detokenize", {"tokens": [-1]}),
        ("/detokenize", {"tokens": "a"}),
        ("/detokenize", {"tokens": [10**30]}),
        ("/detokenize", {}),
    ],
)
async def test_tokens_refused(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    response = await client.post(path, json=body)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["message"]


async def test_openapi_describes_the_bodies(client: httpx.AsyncClient) -> None:
    page = (await client.get("/openapi.json")).json()
    content = page["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert "messages" in page["components"]["schemas"][name]["properties"]


LABELS = (("engine", "bf16"), ("model_name", "tiny"))


async def test_metrics_of_requests(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.bundle = 4
    await client.post("/v1/completions", json={"prompt": "Hi", "max_tokens": 64})
    await client.post("/v1/completions", json={"prompt": "Hi", "max_tokens": 5, "stream": True})
    engine.failure = Overloaded("The queue is full.")
    await client.post("/v1/completions", json={"prompt": "Hi"})
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    found = samples_of(response.text)

    def reason(name: str) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((*LABELS, ("finished_reason", name))))

    success = found["vllm:request_success_total"]
    outcomes = [success[reason(name)] for name in ("stop", "length", "error", "abort")]
    assert outcomes == [1, 1, 1, 0]
    assert found["vllm:prompt_tokens_total"][LABELS] == 4
    assert found["vllm:generation_tokens_total"][LABELS] == 13 + 5
    assert found["vllm:time_to_first_token_seconds_count"][LABELS] == 2
    assert found["vllm:inter_token_latency_seconds_count"][LABELS] == 13 - 4 + 1
    assert found["vllm:request_time_per_output_token_seconds_count"][LABELS] == 2
    assert found["vllm:e2e_request_latency_seconds_count"][LABELS] == 2
    assert found["vllm:request_prompt_tokens_sum"][LABELS] == 4
    assert found["vllm:request_generation_tokens_sum"][LABELS] == 18
    assert found["vllm:request_queue_time_seconds_sum"][LABELS] == pytest.approx(0.2)
    assert found["vllm:request_prefill_time_seconds_sum"][LABELS] == pytest.approx(0.4)
    assert found["vllm:request_decode_time_seconds_sum"][LABELS] == pytest.approx(0.8)
    assert found["vllm:request_inference_time_seconds_sum"][LABELS] == pytest.approx(1.2)
    rejected = tuple(sorted((*LABELS, ("reason", "overloaded"))))
    assert found["vllm:admission_rejections_total"][rejected] == 1


REPLICA = """\
# HELP vllm:num_requests_running Requests in the batch.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="{0}",model_name="tiny"}} {1}
# HELP vllm:kv_cache_usage_perc Share of the KV cache in use.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{engine="{0}",model_name="tiny"}} 0.{1}
# HELP vllm:num_preemptions_total Preemptions.
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{{engine="{0}",model_name="tiny"}} {1}
# HELP vllm:iteration_tokens_total Tokens of one step.
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{{engine="{0}",le="1.0",model_name="tiny"}} {1}
vllm:iteration_tokens_total_bucket{{engine="{0}",le="+Inf",model_name="tiny"}} {1}
vllm:iteration_tokens_total_count{{engine="{0}",model_name="tiny"}} {1}
vllm:iteration_tokens_total_sum{{engine="{0}",model_name="tiny"}} {1}
"""


async def test_metrics_of_several_front_doors_stay_apart(engine: FakeEngine) -> None:
    """One answers for all of them, so that it does not matter which is asked."""
    other = create_app(make_service(FakeEngine()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(other), base_url="http://test") as client:
        for _ in range(2):
            await client.post("/v1/completions", json={"model": "tiny", "prompt": "Hi", "max_tokens": 1})

    async def sources() -> Sequence[str]:
        return [page_of(other.state.door.metrics.registry, {"front_door": "b"})]

    async with client_of(make_service(engine, metrics_sources=sources, metrics_labels={"front_door": "a"})) as client:
        await client.post("/v1/completions", json={"model": "tiny", "prompt": "Hi", "max_tokens": 1})
        found = samples_of((await client.get("/metrics")).text)
    ended = found["vllm:e2e_request_latency_seconds_count"]
    assert {dict(labels)["front_door"]: count for labels, count in ended.items()} == {"a": 1, "b": 2}


async def test_metrics_of_replicas_are_merged(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    async def sources() -> Sequence[str]:
        damaged = "vllm:num_requests_running{ 5"
        return REPLICA.format("a", 3), REPLICA.format("b", 4), damaged, REPLICA.format("b", 5)

    async with client_of(make_service(engine, metrics_sources=sources)) as client:
        with caplog.at_level(logging.WARNING):
            page = (await client.get("/metrics")).text
    found = samples_of(page)
    a, b = (("engine", "a"), ("model_name", "tiny")), (("engine", "b"), ("model_name", "tiny"))
    assert found["vllm:num_requests_running"] == {a: 3, b: 9}
    assert found["vllm:kv_cache_usage_perc"] == {a: 0.3, b: 0.5}
    assert found["vllm:num_preemptions_total"] == {a: 3, b: 9}
    assert found["vllm:iteration_tokens_total_count"] == {a: 3, b: 9}
    for line in ("# TYPE vllm:num_requests_running gauge", "# TYPE vllm:num_preemptions_total counter"):
        assert page.count(line) == 1
    assert page.count("# TYPE vllm:iteration_tokens_total histogram") == 1
    assert "_created" not in page
    assert "could not be read" in caplog.text
