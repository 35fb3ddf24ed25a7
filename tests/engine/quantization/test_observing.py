"""Models run under observation give what they always give, and every product's inputs are seen under its name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.checkpoint import open_checkpoint
from engine.errors import CheckpointError
from engine.kernels import Kernels, TorchKernels
from engine.models import load_classifier, load_decoder, load_encoder
from engine.models.packed import Text, pack
from engine.models.seq2seq import load_seq2seq
from engine.quantization.observing import EXTREMES, Observation, Observing
from engine.quantization.weight import Weight
from tests.engine import tiny, tiny_encoders, tiny_seq2seq
from tests.engine.models.test_families import TOKENS, all_kernels, decode
from tests.engine.models.test_seq2seq import TARGETS, score
from tests.engine.quantization.heavy import heavy_weight

TORCH = TorchKernels(torch.float32, torch.device("cpu"))
SOURCES = [[5, 9, 14, 30, 2], [7, 2], [44, 12, 8, 61, 25, 17, 2], [3, 2]]


@pytest.mark.parametrize("kernels", all_kernels(torch.float32), ids=lambda k: k.name)
@pytest.mark.parametrize("family", ["llama", "llama-untied-biased", "gpt2", "llama-large-vocabulary"])
def test_decoders(family: str, kernels: Kernels, tmp_path: Path) -> None:
    tiny.write_checkpoint(family, tmp_path)
    observing = Observing(kernels)
    names: dict[str, tuple[int, ...]] = {}

    def noted(name: str, weight: Weight) -> Weight:
        names[name] = tuple(weight.shape)
        return observing.transform(name, weight)

    with open_checkpoint(tmp_path) as checkpoint:
        plain = load_decoder(checkpoint, kernels, 200)
        observed = load_decoder(checkpoint, observing.kernels, 200, transform=noted)
    assert torch.equal(decode(observed, [31, 90]), decode(plain, [31, 90]))
    assert observing.products.keys() == names.keys()
    for name, seen in observing.products.items():
        assert seen.channels.rows == len(TOKENS[:90]), name
        assert seen.sample.shape == (90 - seen.fitted.rows, names[name][1]), name
        assert 20 < seen.fitted.rows < 70, name
        assert seen.looked_up == (name == "head" and family != "llama-untied-biased"), name


def test_classifiers(tmp_path: Path) -> None:
    tiny_encoders.write_encoder("bert", tmp_path, "AutoModelForSequenceClassification", num_labels=3)
    observing = Observing(TORCH)
    with open_checkpoint(tmp_path) as checkpoint:
        encoder = load_encoder(checkpoint, observing.kernels, 64, transform=observing.transform)
        head = load_classifier(checkpoint, observing.kernels, 3, observing.transform)
    batch = pack([Text([5, 9, 14, 30, 77, 2]), Text([3, 2])], encoder.arch)
    head(encoder.forward(batch, rows=batch.starts[:-1].long()))
    assert observing.products["layers.0.qkv"].channels.rows == 8
    assert observing.products["classifier.scores"].channels.rows == 2


@pytest.mark.parametrize("family", ["marian", "t5"])
def test_translators(family: str, tmp_path: Path) -> None:
    tiny_seq2seq.write_checkpoint(family, tmp_path)
    observing = Observing(TORCH)
    with open_checkpoint(tmp_path) as checkpoint:
        model = load_seq2seq(checkpoint, observing.kernels, 100, 80, observing.transform)
    score(model, SOURCES, TARGETS, cached=True)
    sources = sum(len(source) for source in SOURCES)
    assert observing.products["decoder.layers.0.source_kv"].channels.rows == sources
    assert observing.products["encoder.layers.0.qkv"].channels.rows == sources
    assert observing.products["decoder.head"].channels.rows > 0


def test_the_parts_of_a_weight_count_their_common_input_once() -> None:
    observing = Observing(TORCH)
    weight = observing.transform("up", heavy_weight(8, 16))
    x = heavy_weight(5, 16)
    for part in weight.chunk(2):
        assert part.shape == (4, 16)
        observing.kernels.linear(part)(x)
    assert observing.products["up"].channels.rows == 5


def observation(x: Tensor, size: int, seed: int = 0) -> Observation:
    seen = Observation("x", x.shape[1], sampled=20, seed=seed)
    for part in x.split(size):
        seen.see(part)
    return seen


def test_samples_are_fair_and_repeatable() -> None:
    x = torch.arange(4000.0)[:, None]
    first, again, other = observation(x, 100), observation(x, 100), observation(x, 100, seed=1)
    assert torch.equal(first.sample, again.sample)
    assert not torch.equal(first.sample, other.sample)
    assert torch.equal(first.extremes.flatten().sort().values, x[-EXTREMES:].flatten())
    means = torch.tensor([float(observation(x[:1000], 64, seed).sample.mean()) for seed in range(40)])
    assert abs(float(means.mean()) - 499.5) < 4 * 288.7 / (40 * 20) ** 0.5


def test_what_is_not_finite_or_all_zero_decides_nothing() -> None:
    seen = Observation("layers.0.up", 8)
    with pytest.raises(CheckpointError, match=r"layers\.0\.up: what goes into it is not finite"):
        seen.see(torch.full((4, 8), float("inf")))
    zeros = Observation("x", 8)
    zeros.see(torch.zeros(64, 8))
    assert not zeros.enough
    zeros.see(torch.ones(64, 8))
    assert zeros.enough
