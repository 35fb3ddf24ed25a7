"""Every decoder family against `transformers` (or torch's own encoder) and against its uncached self."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.batch import Span, build_batch
from engine.checkpoint import open_checkpoint
from engine.errors import CheckpointError
from engine.kernels import Kernels, TorchKernels, select_kernels
from engine.kernels.native import NativeKernels
from engine.kernels.operators import load
from engine.models import Decoder, load_decoder
from tests.engine.tiny import FAMILIES, VOCABULARY, write_checkpoint

BLOCK = 32
TOKENS = [(7 * i * i + 3 * i + 1) % VOCABULARY for i in range(90)]


def all_kernels(dtype: torch.dtype) -> list[Kernels]:
    kernels: list[Kernels] = [TorchKernels(dtype, torch.device("cpu"))]
    if load():
        kernels.append(NativeKernels(dtype, amx=False))
    return kernels


def decode(decoder: Decoder, cuts: list[int], tokens: list[int] = TOKENS) -> Tensor:
    """Logits (T, vocabulary) of one sequence that comes in pieces which end at `cuts`."""
    kernels = decoder.kernels
    caches = [kernels.make_cache(8, BLOCK, decoder.arch.heads) for _ in decoder.layers]
    blocks = [5, 1, 6, 2]
    logits, start = [], 0
    for end in cuts:
        held = blocks[: -(-end // BLOCK)]
        batch = build_batch([Span(tokens[start:end], start, held)], BLOCK)
        logits.append(decoder.logits(decoder.forward(batch, caches)))
        start = end
    return torch.cat(logits)


@pytest.mark.parametrize("kernels", all_kernels(torch.float32), ids=lambda k: k.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_references(family: str, kernels: Kernels, tmp_path: Path) -> None:
    reference = write_checkpoint(family, tmp_path)(TOKENS)
    with open_checkpoint(tmp_path) as checkpoint:
        decoder = load_decoder(checkpoint, kernels, max_model_len=200)
    whole = decode(decoder, [90])
    torch.testing.assert_close(whole, reference, atol=1e-4, rtol=1e-4)
    chunked = decode(decoder, [31, 32, 33, 70, *range(71, 91)])
    torch.testing.assert_close(chunked, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "llama-untied-biased", "gpt2", "optimized-post-norm"])
def test_any_split_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    write_checkpoint(family, tmp_path)
    kernels = TorchKernels(torch.float32, torch.device("cpu"))
    batch = build_batch([Span(TOKENS, 0, [3, 1, 0])], BLOCK)

    def run(cuts: list[tuple[int, int]]) -> Tensor:
        hidden = None
        for first, last in cuts:
            with open_checkpoint(tmp_path) as checkpoint:
                part = load_decoder(checkpoint, kernels, 200, first, last)
            caches = [kernels.make_cache(4, BLOCK, part.arch.heads) for _ in part.layers]
            hidden = part.forward(batch, caches, hidden)
        assert hidden is not None
        return part.logits(hidden)

    whole = run([(0, 3)])
    assert torch.equal(run([(0, 1), (1, 3)]), whole)
    assert torch.equal(run([(0, 1), (1, 2), (2, 3)]), whole)


@pytest.mark.parametrize("kernels", all_kernels(torch.float32), ids=lambda k: k.name)
@pytest.mark.parametrize("family", [name for name in FAMILIES if not name.startswith("optimized")])
def test_every_layer_is_the_references(family: str, kernels: Kernels, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    write_checkpoint(family, tmp_path)
    with torch.no_grad():
        found = AutoModelForCausalLM.from_pretrained(tmp_path)(torch.tensor([TOKENS]), output_hidden_states=True)
    # transformers gives the embedding first, and the last layer's only after the final norm.
    expected = found.hidden_states[1:-1]
    assert len(expected) == 2
    batch = build_batch([Span(TOKENS, 0, [3, 1, 0])], BLOCK)
    hidden = None
    for layer, reference in enumerate(expected):
        with open_checkpoint(tmp_path) as checkpoint:
            part = load_decoder(checkpoint, kernels, 200, layer, layer + 1)
        caches = [kernels.make_cache(4, BLOCK, part.arch.heads)]
        hidden = part.forward(batch, caches, hidden)
        torch.testing.assert_close(hidden, reference[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "optimized-post-norm"])
def test_bf16_stays_near_fp32(family: str, tmp_path: Path) -> None:
    reference = write_checkpoint(family, tmp_path)(TOKENS)
    kernels = all_kernels(torch.bfloat16)
    if load():
        kernels.append(select_kernels("cpu", torch.bfloat16))  # what this processor has for it
    for one in kernels:
        with open_checkpoint(tmp_path) as checkpoint:
            logits = decode(load_decoder(checkpoint, one, 200), [50, 90])
        error = (logits - reference).norm() / reference.norm()
        assert error < 0.05, one.name


def test_a_tensor_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    import json

    write_checkpoint("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    kernels = TorchKernels(torch.float32, torch.device("cpu"))
    for key, value in {"num_key_value_heads": 4, "vocab_size": 99, "head_dim": 8}.items():
        (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
        with open_checkpoint(tmp_path) as checkpoint, pytest.raises(CheckpointError, match="shape"):
            load_decoder(checkpoint, kernels, 200)


def test_a_head_with_too_short_a_bias_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    write_checkpoint("optimized-pre-norm", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "output_proj.bias": tensors["output_proj.bias"][:7].clone()}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint, pytest.raises(CheckpointError, match="bias of the output head"):
        load_decoder(checkpoint, TorchKernels(torch.float32, torch.device("cpu")), 200)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("model_type", "mamba", "supported are"),
        ("hidden_size", None, "hidden_size"),
        ("hidden_size", -4, "above 0"),
        ("hidden_act", "quick", "activation"),
        ("num_key_value_heads", 3, "do not share"),
        ("num_key_value_heads", "2", "num_key_value_heads"),
        ("head_dim", 15, "not even"),
        ("head_dim", -16, "above 0"),
        ("partial_rotary_factor", 1.5, "partial_rotary_factor"),
        ("sliding_window", -1, "sliding_window"),
        ("rope_parameters", {"rope_type": "spiral"}, "rope type"),
        ("rope_parameters", {"rope_type": "llama3"}, "parameters"),
    ],
)
def test_a_config_that_cannot_be_served_says_why(key: str, value: object, complaint: str, tmp_path: Path) -> None:
    import json

    write_checkpoint("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(CheckpointError, match=complaint), open_checkpoint(tmp_path) as checkpoint:
        load_decoder(checkpoint, TorchKernels(torch.float32, torch.device("cpu")), 200)
