"""Every encoder family against `transformers`, layer for layer, and packed texts against each alone."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.checkpoint import open_checkpoint
from engine.errors import CheckpointError
from engine.kernels import Kernels, TorchKernels, select_kernels
from engine.kernels.native import NativeKernels
from engine.kernels.operators import load
from engine.kernels.replay import MOST_ROWS
from engine.models import Encoder, load_encoder
from engine.models.packed import Text, pack
from tests.engine.tiny_encoders import ENCODERS, VOCABULARY, write_encoder

LENGTHS = (1, 7, 60, 18, 33, 7)
TEXTS = [
    Text([5 + (7 * i * i + 3 * i + 11 * k) % (VOCABULARY - 5) for i in range(length)])
    for k, length in enumerate(LENGTHS)
]


def all_kernels(dtype: torch.dtype) -> list[Kernels]:
    kernels: list[Kernels] = [TorchKernels(dtype, torch.device("cpu"))]
    if load():
        kernels.append(NativeKernels(dtype, amx=False))
    return kernels


def read(folder: Path, kernels: Kernels, first: int = 0, last: int | None = None) -> Encoder:
    with open_checkpoint(folder) as checkpoint:
        return load_encoder(checkpoint, kernels, 100, first, last)


def run(encoder: Encoder, texts: list[Text]) -> list[Tensor]:
    """Hidden states (L, C) of each text, all computed together."""
    batch = pack(texts, encoder.arch)
    hidden = encoder.forward(batch)
    return [hidden[start:end] for start, end in itertools.pairwise(batch.starts.tolist())]


@pytest.mark.parametrize("kernels", all_kernels(torch.float32), ids=lambda k: k.name)
@pytest.mark.parametrize("family", ENCODERS)
def test_hidden_states_are_the_references(family: str, kernels: Kernels, tmp_path: Path) -> None:
    model = write_encoder(family, tmp_path)
    for text, ours in zip(TEXTS, run(read(tmp_path, kernels), TEXTS), strict=True):
        with torch.no_grad():
            reference = model(torch.tensor([text.tokens])).last_hidden_state[0]
        torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernels", all_kernels(torch.float32), ids=lambda k: k.name)
@pytest.mark.parametrize("family", ENCODERS)
def test_every_layer_is_the_references(family: str, kernels: Kernels, tmp_path: Path) -> None:
    model = write_encoder(family, tmp_path)
    tokens = TEXTS[2].tokens
    with torch.no_grad():
        expected = model(torch.tensor([tokens]), output_hidden_states=True).hidden_states
    part = read(tmp_path, kernels, 0, 1)
    batch = pack([TEXTS[2]], part.arch)
    torch.testing.assert_close(part.embed(batch), expected[0][0], atol=1e-4, rtol=1e-4)
    hidden = None
    for layer in range(part.arch.num_layers):
        hidden = read(tmp_path, kernels, layer, layer + 1).forward(batch, hidden)
        if layer + 1 < part.arch.num_layers:
            torch.testing.assert_close(hidden, expected[layer + 1][0], atol=1e-4, rtol=1e-4)
    whole = run(read(tmp_path, kernels), [TEXTS[2]])[0]
    assert hidden is not None
    assert torch.equal(hidden, whole)


@pytest.mark.skipif(not load(), reason="no C++ compiler: the native kernels are not in use here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_packed_is_each_alone_bit_for_bit(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    write_encoder(family, tmp_path)
    encoder = read(tmp_path, NativeKernels(dtype, amx=False))
    for text, together in zip(TEXTS, run(encoder, TEXTS), strict=True):
        assert torch.equal(run(encoder, [text])[0], together)


@pytest.mark.skipif(not load(), reason="no C++ compiler: the native kernels are not in use here")
@pytest.mark.parametrize(("first", "last"), [(0, None), (1, 3)])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_after_a_rehearsal_long_batches_need_no_python(
    family: str, first: int, last: int | None, tmp_path: Path
) -> None:
    write_encoder(family, tmp_path)
    cold, rehearsed = (read(tmp_path, NativeKernels(torch.float32, amx=False), first, last) for _ in range(2))
    rehearsed.rehearse()
    assert rehearsed.replay.program is not None
    assert rehearsed.replay_some.program is not None
    batch = pack(TEXTS, cold.arch)
    assert len(batch.tokens) > MOST_ROWS
    hidden = torch.randn(len(batch.tokens), cold.arch.hidden_size, generator=torch.Generator().manual_seed(0))
    for rows in (None, batch.starts[:-1].long()):
        given = None if first == 0 else hidden
        expected = cold.forward(batch, None if given is None else given.clone(), rows)
        assert torch.equal(rehearsed.forward(batch, None if given is None else given.clone(), rows), expected)
    assert cold.replay.program is None


def test_segments(tmp_path: Path) -> None:
    model = write_encoder("bert", tmp_path)
    types = [0] * 20 + [1] * 40
    kernels = TorchKernels(torch.float32, torch.device("cpu"))
    ours = run(read(tmp_path, kernels), [TEXTS[1], Text(TEXTS[2].tokens, types)])[1]
    with torch.no_grad():
        reference = model(torch.tensor([TEXTS[2].tokens]), token_type_ids=torch.tensor([types])).last_hidden_state[0]
    torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_a_padding_token_inside_a_text_is_not_counted(family: str, tmp_path: Path) -> None:
    model = write_encoder(family, tmp_path)
    kernels = TorchKernels(torch.float32, torch.device("cpu"))
    encoder = read(tmp_path, kernels)
    assert encoder.arch.padding_token is not None
    text = [9, 8, encoder.arch.padding_token, 7, encoder.arch.padding_token, encoder.arch.padding_token, 6]
    with torch.no_grad():
        reference = model(torch.tensor([text]), attention_mask=torch.ones(1, 7)).last_hidden_state[0]
    torch.testing.assert_close(run(encoder, [Text(text)])[0], reference, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_bf16_stays_near_fp32(family: str, tmp_path: Path) -> None:
    model = write_encoder(family, tmp_path)
    kernels = all_kernels(torch.bfloat16)
    if load():
        kernels.append(select_kernels("cpu", torch.bfloat16))  # what this processor has for it
    with torch.no_grad():
        reference = model(torch.tensor([TEXTS[2].tokens])).last_hidden_state[0]
    for one in kernels:
        ours = run(read(tmp_path, one), TEXTS)[2]
        assert (ours - reference).norm() / reference.norm() < 0.05, one.name


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
def test_names_with_and_without_prefix_and_mixed(family: str, tmp_path: Path) -> None:
    write_encoder(family, tmp_path, "AutoModelForSequenceClassification")
    kernels = TorchKernels(torch.float32, torch.device("cpu"))
    expected = run(read(tmp_path, kernels), TEXTS)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    prefix = "model." if family == "modernbert" else f"{family}."
    assert any(name.startswith(prefix) for name in tensors)
    for some in (lambda i: True, lambda i: i % 2 == 0):
        renamed = {n.removeprefix(prefix) if some(i) else n: t for i, (n, t) in enumerate(tensors.items())}
        save_file(renamed, file)
        assert all(torch.equal(a, b) for a, b in zip(run(read(tmp_path, kernels), TEXTS), expected, strict=True))
    # A base model's tensor beside the fine-tuned one.
    name = f"{prefix}{'embeddings.tok_embeddings' if family == 'modernbert' else 'embeddings.word_embeddings'}.weight"
    save_file({**tensors, name.removeprefix(prefix): tensors[name] + 1}, file)
    assert all(torch.equal(a, b) for a, b in zip(run(read(tmp_path, kernels), TEXTS), expected, strict=True))


def test_old_names_of_norms(tmp_path: Path) -> None:
    write_encoder("bert", tmp_path)
    kernels = TorchKernels(torch.float32, torch.device("cpu"))
    expected = run(read(tmp_path, kernels), TEXTS)
    file = tmp_path / "model.safetensors"
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, tensor in load_file(file).items():
        for new, was in old.items():
            name = name.replace(new, was)
        renamed[name] = tensor
    assert any(name.endswith("gamma") for name in renamed)
    save_file(renamed, file)
    assert all(torch.equal(a, b) for a, b in zip(run(read(tmp_path, kernels), TEXTS), expected, strict=True))


def test_older_modernbert_files(tmp_path: Path) -> None:
    write_encoder("modernbert", tmp_path)
    kernels = TorchKernels(torch.float32, torch.device("cpu"))
    expected = run(read(tmp_path, kernels), TEXTS)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["layer_types"], config["rope_parameters"]
    config |= {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert all(torch.equal(a, b) for a, b in zip(run(read(tmp_path, kernels), TEXTS), expected, strict=True))


@pytest.mark.parametrize(
    ("family", "key", "value", "complaint"),
    [
        ("bert", "model_type", "llama", "supported are"),
        ("bert", "is_decoder", True, "is_decoder"),
        ("bert", "position_embedding_type", "relative_key", "position_embedding_type"),
        ("bert", "num_attention_heads", 5, "no multiple"),
        ("bert", "type_vocab_size", 3, "token types"),
        ("bert", "intermediate_size", 0, None),
        ("bert", "vocab_size", 99, "embedding"),
        ("bert", "hidden_act", "quick", "activation"),
        ("roberta", "pad_token_id", "one", "pad_token_id"),
        ("distilbert", "n_heads", 7, "no multiple"),
        ("modernbert", "layer_types", ["full_attention"], "layer_types"),
        ("modernbert", "local_attention", -1, "local_attention"),
        ("modernbert", "num_attention_heads", 16, "even width"),
    ],
)
def test_a_config_that_cannot_be_served_says_why(
    family: str, key: str, value: object, complaint: str | None, tmp_path: Path
) -> None:
    write_encoder(family, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    kernels = TorchKernels(torch.float32, torch.device("cpu"))
    if complaint is None:  # the tensors say how wide the MLP is
        read(tmp_path, kernels)
        return
    with pytest.raises(CheckpointError, match=complaint):
        read(tmp_path, kernels)
