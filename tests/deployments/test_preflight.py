from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.node import free_ports
from deployments import preflight
from deployments.settings import Http, Model, Replicas, Settings, Stages, Task, Variant
from engine.errors import CheckpointError, ConfigError
from tests.deployments.tiny_served import write_model
from tests.engine.tiny import write_checkpoint


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_free_port_passes() -> None:
    preflight.check_port(Http(port=free_ports(1)[0]))


def test_a_port_that_just_closed_passes() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as front doors do
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0] as accepted:
            accepted.close()  # this side closes first, and so keeps the port in TIME_WAIT
    preflight.check_port(Http(port=port))


def test_a_taken_port_is_told_in_one_line(listener: int) -> None:
    with pytest.raises(ConfigError) as caught:
        preflight.check_port(Http(port=listener))
    message = str(caught.value)
    assert message.startswith(f"Port {listener} is taken")
    assert f"process {os.getpid()}" in message, "this very process holds it"
    assert "--port" in message
    assert "\n" not in message


def test_a_port_taken_on_one_address_is_taken_for_all(listener: int) -> None:
    with pytest.raises(ConfigError, match="is taken"):
        preflight.check_port(Http(host="0.0.0.0", port=listener))


@pytest.mark.parametrize(
    ("http", "nodes", "wrong"),
    [
        (Http(front_doors=2, host="0.0.0.0"), 1, "http.front_doors is 2 and this is one node"),
        (Http(front_doors=3, host="0.0.0.0"), 2, "there are 2 nodes"),
        (Http(front_doors=2), 2, "127.0.0.1 is the address of one: set http.host to 0.0.0.0"),
    ],
)
def test_front_doors_that_have_no_place(http: Http, nodes: int, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        preflight.check_front_doors(http, nodes)


def test_front_doors_that_have_one() -> None:
    preflight.check_front_doors(Http(), nodes=1)
    preflight.check_front_doors(Http(front_doors=2, host="0.0.0.0"), nodes=2)


def test_a_host_that_is_not_this_machine() -> None:
    with pytest.raises(ConfigError, match="is no address of this machine"):
        preflight.check_port(Http(host="198.51.100.7", port=free_ports(1)[0]))


SLEEPER = Variant(precision="int8-dynamic", replicas=Replicas(min=0, max=3))


def settings() -> Settings:
    variants = (Variant(precision="bf16", replicas=Replicas(min=2, max=4)), Variant(precision="fp32"))
    return Settings(models=(Model(name="m", source="m", variants=variants, kv_cache=1 << 30),))


def test_memory_counts_weights_and_kv_cache_of_what_always_runs() -> None:
    model = settings().models[0]
    alone = preflight.memory_of(model, 0)
    assert preflight.memory_of(model, 1000) - alone == 2 * 2000 + 4000
    assert alone > 3 << 30
    sleeper = model.model_copy(update={"variants": (*model.variants, SLEEPER)})
    assert preflight.memory_of(sleeper, 1000) == preflight.memory_of(model, 1000)
    assert preflight.memory_of(sleeper, 1000, most=True) > 7 << 30


def test_short_memory_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "count_weights", lambda path: 10**9)
    monkeypatch.setattr(preflight, "available_memory", lambda: 4 << 30)
    with pytest.raises(ConfigError, match=r"about 1\d\.\d GiB are needed and 4\.0 GiB are available") as caught:
        preflight.check_memory(settings(), {"m": Path("m")})
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(preflight, "available_memory", lambda: 16 << 30)
    warning = preflight.check_memory(settings(), {"m": Path("m")})
    assert warning is not None
    assert "16.0 GiB are available" in warning
    monkeypatch.setattr(preflight, "available_memory", lambda: 64 << 30)
    assert preflight.check_memory(settings(), {"m": Path("m")}) is None


def test_available_memory_is_a_sum_of_bytes() -> None:
    assert 0 < preflight.available_memory() < 1 << 50


def mine(task: Task = "text-generation") -> Settings:
    return Settings(models=(Model(name="mine", source="m", task=task),))


@pytest.mark.parametrize("task", ["text-classification", "embedding", "translation"])
def test_a_model_of_another_task_is_told(tmp_path: Path, task: Task) -> None:
    write_checkpoint("llama", tmp_path)
    with pytest.raises(CheckpointError, match=r"The model mine cannot be served: .*'llama' is no"):
        preflight.check_models(mine(task), {"mine": tmp_path})


def test_a_model_that_cannot_be_served_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="The model mine cannot be served"):
        preflight.check_models(mine(), {"mine": tmp_path / "missing.gguf"})
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(CheckpointError, match="supported are"):
        preflight.check_models(mine(), {"mine": tmp_path})


def test_a_model_without_a_tokenizer_is_told_before_anything_starts(tmp_path: Path) -> None:
    write_checkpoint("llama", tmp_path)
    with pytest.raises(CheckpointError, match="tokenizer"):
        preflight.check_models(mine(), {"mine": tmp_path})


@pytest.mark.model
def test_the_demo_models_weights_are_counted(demo_model: Path) -> None:
    assert preflight.count_weights(demo_model) == 134_515_008


def test_every_stage_is_a_process_that_takes_memory() -> None:
    model = settings().models[0]
    one = model.model_copy(update={"variants": (Variant(precision="bf16"),)})
    three = model.model_copy(update={"variants": (Variant(precision="bf16", stages=Stages(count=3)),)})
    process = preflight.memory_of(one, 0) - one.kv_cache
    assert preflight.memory_of(three, 1000) - preflight.memory_of(one, 1000) == 3 * process


def staged(stages: Stages, replicas: Replicas = Replicas()) -> Settings:  # noqa: B008
    variants = (Variant(precision="fp32", stages=stages, replicas=replicas),)
    return Settings(models=(Model(name="m", source="m", variants=variants),))


@pytest.mark.parametrize(
    ("stages", "complaint"),
    [
        (Stages(count=4), "m:fp32 cannot be served: 4 stages are not possible: the model has 3 layers"),
        (Stages(count=2, balance=(2, 2)), "m:fp32 cannot be served: balance .2, 2. places 4 layers and the model has"),
    ],
)
def test_a_model_of_few_layers_is_told_before_anything_starts(
    stages: Stages, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model("text-generation", tmp_path)
    preflight.check_models(staged(Stages(count=3)), {"m": tmp_path})
    preflight.check_models(staged(Stages(count=2, balance=(2, 1))), {"m": tmp_path})
    with pytest.raises(ConfigError, match=complaint):
        preflight.check_models(staged(stages), {"m": tmp_path})


def test_gpus_that_are_not_there_are_told() -> None:
    wanted = staged(Stages(count=2, balance=(2, 1), num_gpus=0.5), Replicas(min=2))
    preflight.check_machine(wanted, 2)
    with pytest.raises(ConfigError, match="need 2 GPUs and there are 1"):
        preflight.check_machine(wanted, 1)
    preflight.check_machine(staged(Stages(count=2)), 0)


def test_one_machine_is_not_several_nodes() -> None:
    preflight.check_machine(staged(Stages(count=2, placement="spread")), 0)
    with pytest.raises(ConfigError, match="this is one node"):
        preflight.check_machine(staged(Stages(count=2, placement="strict-spread")), 0)
