"""What KubeRay has Serve run: from `args` to an application, first without a cluster, then with one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray.serve._private.build_app import build_app as build_serve_app

from deployments import kuberay
from deployments.app import FRONT_DOOR
from deployments.kuberay import PACKAGE, application
from engine.errors import ConfigError, SourceError
from tests.deployments.callers import Caller
from tests.deployments.pod import LIMIT_S, running_pod
from tests.deployments.tiny_served import own_cache, write_model
from tests.waiting import wait_until

Args = dict[str, Any]


@pytest.fixture
def args(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Args:
    own_cache(tmp_path, monkeypatch)
    monkeypatch.setattr(kuberay, "PACKAGE", tmp_path)
    write_model("text-generation", tmp_path / "base")
    variants = [
        {"precision": "bf16", "cores": 2, "replicas": {"min": 1, "max": 3}},
        {"precision": "fp32", "cores": 3, "stages": 2},
    ]
    model = {"name": "org/tiny", "source": "base", "variants": variants}
    return {"http": {"front_doors": 2, "without_keys": True}, "models": [model]}


def options_of(found: Any) -> dict[str, Any]:
    """Of each deployment."""
    return {one.name: one for one in build_serve_app(found, name="stageline", default_runtime_env={}).deployments}


def test_the_application_is_for_a_cluster_that_grows(args: Args) -> None:
    found = options_of(application(args))
    door, whole, cut = (found[name] for name in (FRONT_DOOR, "org--tiny--bf16", "org--tiny--fp32"))
    assert (door.num_replicas, door.ray_actor_options["num_cpus"]) == (2, 0)
    assert door._replica_config.max_replicas_per_node == 1
    assert whole.ray_actor_options["num_cpus"] == 2, "all of a replica's cores are reserved"
    assert [bundle["CPU"] for bundle in cut._replica_config.placement_group_bundles[1:]] == [3, 3]
    for variant in (whole, cut):
        assert variant._deployment_config.max_surge_percent > 0, "who is replaced goes on until the successor answers"


def test_relative_paths_count_from_the_package() -> None:
    """So that they are right in every pod of an image."""
    assert (PACKAGE / "demo" / "variants" / "smollm2").is_dir()
    assert (PACKAGE / "demo" / "en-de").is_dir()


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"modles": []}, r"args: modles: unknown key; did you mean 'models'\?"),
        ({"http": {"front_doors": 0}}, r"args: http\.front_doors: .* greater than or equal to 1"),
        ({"http": {"port": 9000}}, r"args: http\.port: it means nothing here; set port in http_options"),
        ({"http": {"host": "0.0.0.0"}}, r"args: http\.host: it means nothing here"),
        ({"http": {}}, r"others reach this one\. Make a key with `stageline keys new"),
        ({"http": {}, "access": {"keys": "keys.yaml"}}, r"keys\.yaml: there is no such file"),
        ({"access": {"keys": "keys.yaml"}}, r"leave one of them out"),
        ({"models": [{"name": "a", "source": "base"}]}, r"args: models\[0\]\.variants\[0\]\.cores: this key is needed"),
    ],
)
def test_what_is_refused(args: Args, change: Args, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        application({**args, **change})


def test_a_model_that_is_not_there(args: Args, tmp_path: Path) -> None:
    args["models"][0]["source"] = "elsewhere"
    with pytest.raises(SourceError, match=str(tmp_path / "elsewhere")):
        application(args)


def test_an_unmeasured_variant_is_not_served(args: Args) -> None:
    args["models"][0]["variants"] = [{"precision": "int8-dynamic", "cores": 1}]
    with pytest.raises(ConfigError, match="int8-dynamic"):
        application(args)


# What follows is done as KubeRay does it, with a Ray node that it could have started.

VARIANT = {"precision": "bf16", "prepared": "demo/variants/smollm2/bf16", "cores": 1}
REPLICAS = "smollm2--bf16"


def service(source: Path, port: int, *, kv_cache: str, deployments: Sequence[Args] = ()) -> Args:
    """A `serveConfigV2`."""
    model = {"name": "smollm2", "source": str(source), "kv_cache": kv_cache, "variants": [VARIANT]}
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [
            {
                "name": "stageline",
                "route_prefix": "/",
                "import_path": "deployments.kuberay:application",
                "args": {"models": [model], "http": {"without_keys": True}},
                "deployments": list(deployments),
            }
        ],
    }


@pytest.mark.ray
@pytest.mark.model
def test_a_service_starts_scales_and_is_replaced_without_losing_a_request(demo_model: Path) -> None:
    two = [{"name": REPLICAS, "num_replicas": 2}]
    with running_pod(cpus=3) as pod, httpx.Client(base_url=pod.url, timeout=60) as http:
        pod.put(service(demo_model, pod.port, kv_cache="64MiB", deployments=two))
        first = pod.wait_running({FRONT_DOOR: 1, REPLICAS: 2})
        probe = http.get("/-/healthz")  # what the readiness probe of KubeRay's pods asks
        assert (probe.status_code, probe.text) == (200, "success")
        # It hears of replicas a moment after KubeRay does.
        wait_until(lambda: http.get("/ready").status_code == 200, "not ready", LIMIT_S)
        assert [model["id"] for model in http.get("/v1/models").json()["data"]] == ["smollm2", "smollm2:bf16"]
        messages = [{"role": "user", "content": "Hi"}]
        chat = http.post("/v1/chat/completions", json={"model": "smollm2", "messages": messages, "max_tokens": 3})
        assert chat.json()["usage"]["completion_tokens"] == 3

        callers = [Caller(pod.url, "smollm2", tokens) for tokens in (2, 200)]
        pod.put(service(demo_model, pod.port, kv_cache="64MiB"))  # one replica less, and nothing else
        fewer = pod.wait_running({FRONT_DOOR: 1, REPLICAS: 1})
        assert fewer[FRONT_DOOR] == first[FRONT_DOOR]
        assert set(fewer[REPLICAS]) < set(first[REPLICAS]), "who stays is not started anew"
        pod.put(service(demo_model, pod.port, kv_cache="80MiB"))  # which every replica has to be started anew for
        # It is built first.
        wait_until(lambda: pod.wait_running({FRONT_DOOR: 1, REPLICAS: 1}) != fewer, "no replica came", LIMIT_S)
        assert not set(pod.wait_running({FRONT_DOOR: 1, REPLICAS: 1})[REPLICAS]) & set(first[REPLICAS])
        for caller in callers:
            caller.wait_for_more(2)
            caller.stop()
        assert {outcome for caller in callers for outcome in caller.outcomes} == {"200"}
