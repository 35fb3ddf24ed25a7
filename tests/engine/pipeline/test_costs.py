"""Costs of tiny models. How long their parts take means nothing; that all are there, and their bytes, does."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from engine.checkpoint import open_checkpoint
from engine.kernels import TorchKernels, select_kernels
from engine.models import load_decoder
from engine.pipeline import costs as costs_module
from engine.pipeline.costs import ModelTask, costs_of, count_layers, least_seconds, measure_costs
from engine.pipeline.partition import Cost, Device, partition
from engine.pipeline.probes.decoder import decoder_probes
from engine.pipeline.probes.parts import SMALL, Part, Probes, one_more, sort_layers
from engine.quantization.prepare import prepare
from engine.quantization.weight import QuantizedWeight, Weight
from tests.engine import tiny, tiny_encoders, tiny_seq2seq

LABELS = {str(i): f"label {i}" for i in range(3)}
FP32 = TorchKernels(torch.float32, torch.device("cpu"))
FAMILIES: list[tuple[ModelTask, str, int]] = [
    *(("text-generation", name, 3) for name in ("llama", "llama-untied-biased", "gpt2", "optimized-post-norm")),
    ("embedding", "bert", 3),
    ("embedding", "roberta", 3),
    ("embedding", "modernbert", 4),
    ("text-classification", "distilbert", 3),
    ("text-classification", "modernbert", 4),
    ("translation", "marian", 5),
    ("translation", "marian-two-vocabularies", 5),
    ("translation", "m2m100", 5),
    ("translation", "t5-1.1", 5),
]
LAYER = re.compile(r"\b(layers?|h|block)\.\d+\.")


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs_module, "BUDGET_S", 0.0)


def write(task: ModelTask, name: str, folder: Path) -> None:
    match task:
        case "text-generation":
            tiny.write_checkpoint(name, folder)
        case "translation":
            tiny_seq2seq.write_checkpoint(name, folder)
        case "text-classification":
            tiny_encoders.write_encoder(name, folder, "AutoModelForSequenceClassification", id2label=LABELS)
        case "embedding":
            tiny_encoders.write_encoder(name, folder)


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of the stored tensors as fp32, by name."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {name: 4 * math.prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize(("task", "name", "layers"), FAMILIES)
def test_every_family_is_measured(task: ModelTask, name: str, layers: int, tmp_path: Path) -> None:
    write(task, name, tmp_path)
    threads = torch.get_num_threads()
    with open_checkpoint(tmp_path) as checkpoint:
        assert count_layers(checkpoint, task) == layers
        costs = measure_costs(checkpoint, task, FP32, threads=1)
    assert torch.get_num_threads() == threads
    assert len(costs.layers) == layers
    stored = sizes(tmp_path)
    in_layers = {n: size for n, size in stored.items() if LAYER.search(n) and "relative_attention_bias" not in n}
    tables = sum(part.bytes for part in costs.layers) - sum(in_layers.values())
    if task == "translation":  # the decoder's embedding stands at its first layer
        assert tables > 0
    else:
        assert tables == 0
    assert costs.first.bytes >= max(size for n, size in stored.items() if "emb" in n or "wte" in n or "shared" in n)
    assert costs.first.seconds > 0
    assert costs.last.seconds > 0
    assert partition(costs, [Device()] * layers) == tuple(range(layers + 1))


def test_all_bytes_are_counted(tmp_path: Path) -> None:
    """A table that is embedding and head counts twice."""
    for name, twice in (("llama-untied-biased", ()), ("llama", ("model.embed_tokens.weight",))):
        folder = tmp_path / name
        tiny.write_checkpoint(name, folder)
        with open_checkpoint(folder) as checkpoint:
            costs = measure_costs(checkpoint, "text-generation", FP32, threads=1)
        stored = sizes(folder)
        whole = sum(stored.values()) + sum(stored[one] for one in twice)
        assert costs.stage(0, 3, Device()).bytes == whole


def kept_in_the_middle(name: str, weight: Weight) -> Weight:
    """One layer stays as it is, another gets a multiplier more."""
    assert isinstance(weight, Tensor)
    if name.startswith("layers.1.") or name == "head":
        return weight
    scales = weight.abs().amax(1) / 127
    multiplier = torch.ones(weight.shape[1]) if name.startswith("layers.2.") else None
    values = (weight / scales[:, None]).round().to(torch.int8)
    return QuantizedWeight("int8-dynamic", values, scales, multiplier=multiplier)


def test_layers_of_different_precision_are_measured_by_themselves(tmp_path: Path) -> None:
    tiny.write_checkpoint("llama", tmp_path / "plain")
    with open_checkpoint(tmp_path / "plain") as checkpoint:
        prepare(checkpoint, "int8-dynamic", kept_in_the_middle, tmp_path / "mixed")
    kernels = TorchKernels(torch.bfloat16, torch.device("cpu"))
    with open_checkpoint(tmp_path / "mixed") as checkpoint:
        seen: dict[int, int] = {0: 0, 1: 0, 2: 0}

        def weigh(name: str, weight: Weight) -> Weight:
            found = checkpoint.product(name, weight)
            if name.startswith("layers."):
                seen[int(name.split(".")[1])] += found.nbytes() if isinstance(found, QuantizedWeight) else found.nbytes
            return found

        load_decoder(checkpoint, kernels, 8, transform=weigh)
        probes = decoder_probes(checkpoint, kernels)
        costs = measure_costs(checkpoint, "text-generation", kernels, threads=1)
    norms = 2 * 64 * 4
    assert [layer.bytes for layer in costs.layers] == [seen[index] + norms for index in range(3)]
    assert costs.layers[1].bytes > costs.layers[2].bytes > costs.layers[0].bytes
    assert [layer.times for layer in probes.layers] == [one_more("layer 0"), one_more("layer 1"), one_more("layer 0")]


def test_costs_are_what_further_layers_add() -> None:
    part = Part(one_more("layer 0", 2), 7)
    probes = Probes({}, (part, part), Part({"embedding": 1}, 3), Part({"head": 5}, 4))
    seconds = {"layer 0, 1": 1.5, "layer 0, 4": 4.5, "embedding": 0.25, "head": 2.0}
    costs = costs_of(probes, seconds)
    assert costs.layers == (Cost(2.0, 7),) * 2
    assert (costs.first, costs.last) == (Cost(0.25, 3), Cost(10.0, 4))
    assert costs_of(probes, seconds | {"layer 0, 1": 9.0}).layers[0].seconds == 2 * 4.5 / 8, "half of its share"
    assert costs_of(probes, seconds | {"layer 0, 1": 0.1}).layers[0].seconds == 2 * 4.5 / 4, "its share"


def test_a_layer_of_each_kind_is_taken_from_the_middle() -> None:
    found = sort_layers("layer", ["a"] * 9 + ["b"], [100] * 10)
    assert found.names == ("layer 0",) * 9 + ("layer 1",)
    assert found.samples == {"layer 0": (3, 4, 5, 6), "layer 1": (9, 9, 9, 9)}
    assert sort_layers("layer", ["a"] * 9, [SMALL] * 9).samples == {"layer 0": (4, 4, 4, 4)}, "large: one is enough"
    assert sort_layers("layer", ["a"], [1]).samples == {"layer 0": (0, 0, 0, 0)}
    assert sort_layers("layer", ["a", "a"], [1, 1]).samples == {"layer 0": (0, 1, 0, 1)}


def test_probes_take_turns() -> None:
    order: list[str] = []
    seconds = least_seconds({name: lambda name=name: order.append(name) for name in "ab"}, lambda: order.append("|"))  # type: ignore[misc]
    assert set(seconds) == {"a", "b"}
    assert "".join(order) == "a|b|" * (len(order) // 4)


@pytest.mark.model
def test_the_demo_model_is_measured_on_the_native_kernels(demo_model: Path) -> None:
    with open_checkpoint(demo_model) as checkpoint:
        costs = measure_costs(checkpoint, "text-generation", select_kernels("cpu", torch.bfloat16), threads=1)
    assert len(costs.layers) == 30
    assert len({layer.seconds for layer in costs.layers}) == 1
    assert costs.last.bytes == 49152 * 576 * 2 + 576 * 4
    assert costs.last.seconds > 0
