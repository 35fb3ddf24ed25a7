"""Small random checkpoints of every decoder family, as `transformers` or torch writes them, and their references."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

VOCABULARY = 131
Reference = Callable[[list[int]], Tensor]  # token ids -> logits (T, vocabulary) of one full forward pass

LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
SCALED = {**LLAMA, "max_position_embeddings": 512}
HALF = 8  # rotary pairs of a head


def scaling(kind: str, **parameters: Any) -> dict[str, Any]:
    return {**SCALED, "rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **parameters}}


# name -> (model_type, config)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", LLAMA),
    "llama-untied-biased": ("llama", {**LLAMA, "tie_word_embeddings": False, "attention_bias": True}),
    "llama-large-vocabulary": ("llama", {**LLAMA, "vocab_size": 5000}),
    "llama-wide-heads": ("llama", {**LLAMA, "head_dim": 48}),
    "llama-linear": ("llama", scaling("linear", factor=4.0)),
    "llama-dynamic": ("llama", scaling("dynamic", factor=2.0)),
    "llama-yarn": ("llama", scaling("yarn", factor=4.0, original_max_position_embeddings=128)),
    "llama-llama3": (
        "llama",
        scaling("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64),
    ),
    "llama-longrope": (
        "llama",
        scaling(
            "longrope",
            short_factor=[1.0] * HALF,
            long_factor=[1.0 + i / 4 for i in range(HALF)],
            factor=4.0,
            original_max_position_embeddings=512,
        ),
    ),
    "mistral": ("mistral", {**LLAMA, "sliding_window": 200}),
    "qwen2": ("qwen2", {**LLAMA, "num_key_value_heads": 1}),
    "qwen3": ("qwen3", {**LLAMA, "head_dim": 32}),
    "gpt2": (
        "gpt2",
        {"vocab_size": VOCABULARY, "n_embd": 48, "n_head": 4, "n_layer": 3, "n_positions": 256},
    ),
    "optimized-post-norm": ("optimized_transformer", {"num_layers": 3, "norm_first": False}),
    "optimized-pre-norm": ("optimized_transformer", {"num_layers": 3, "norm_first": True}),
}


def write_checkpoint(name: str, folder: Path) -> Reference:
    """Writes a random checkpoint of the family into `folder` and returns what it must compute."""
    kind, config = FAMILIES[name]
    torch.manual_seed(0)
    if kind == "optimized_transformer":
        return write_optimized(config, folder)
    return write_transformers(kind, config, folder)


def write_transformers(kind: str, config: dict[str, Any], folder: Path) -> Reference:
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # the initial weights are so small that logits hardly differ
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (parameter == 1))
    model.save_pretrained(folder)

    def reference(tokens: list[int]) -> Tensor:
        with torch.no_grad():
            logits: Tensor = model(torch.tensor([tokens])).logits[0]
        return logits

    return reference


class OptimizedTransformer(nn.Module):
    """The article's class, causal."""

    def __init__(self, vocab_size: int, d_model: int, nhead: int, num_layers: int, norm_first: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        layer = nn.TransformerEncoderLayer(
            d_model, nhead, 2 * d_model, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first
        )
        self.transformer = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.output_proj = nn.Linear(d_model, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        length, width = tokens.shape[1], self.embedding.embedding_dim
        hidden = self.embedding(tokens) * math.sqrt(width)
        for position in range(length):
            for i in range(0, width, 2):
                angle = position / 10000 ** (i / width)
                hidden[:, position, i] += math.sin(angle)
                hidden[:, position, i + 1] += math.cos(angle)
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        out: Tensor = self.output_proj(self.transformer(hidden, mask=mask, is_causal=True))
        return out


def write_optimized(config: dict[str, Any], folder: Path) -> Reference:
    shape = {"vocab_size": VOCABULARY, "d_model": 64, "nhead": 4, **config}
    model = OptimizedTransformer(**shape).eval()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "optimized_transformer", "dim_feedforward": 128, "max_len": 256, **shape})
    )

    def reference(tokens: list[int]) -> Tensor:
        with torch.no_grad():
            logits: Tensor = model(torch.tensor([tokens]))[0]
        return logits

    return reference
