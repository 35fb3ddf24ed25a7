"""GGUF metadata -> the config.json that a Hugging Face folder of the same model would have."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import CheckpointError
from engine.text.gguf_tokenizer import stop_ids

FAMILIES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
ARCHITECTURES = (*FAMILIES, "gpt2")


class Metadata:
    """Typed look-ups of a model's own keys ("llama.block_count"). Raises `CheckpointError` for wrong values."""

    def __init__(self, values: dict[str, Any], path: Path) -> None:
        self.values = values
        self.path = path
        architecture = values.get("general.architecture")
        if architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise CheckpointError(f"{path} is of architecture {architecture!r}; supported in GGUF files: {known}.")
        self.architecture: str = architecture
        if values.get("split.count") not in (None, 0, 1):
            raise CheckpointError(f"{path} is one part of several. Join them with llama-gguf-split --merge.")

    def size(self, key: str, default: int | None = None) -> int:
        """A positive integer; a list (one per layer) is accepted if all its entries are equal."""
        value = self._get(key)
        if isinstance(value, list) and value and value.count(value[0]) == len(value):
            value = value[0]
        if value is None and default is not None:
            return default
        if type(value) is not int or not 0 < value < 1 << 31:
            raise self._wrong(key, value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite float. One that was stored in 32 bits comes back as the shortest such number: 1e-05, say."""
        value = self._get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._wrong(key, value)
        single = np.float32(value)
        return float(str(single)) if single == value else float(value)

    def text(self, key: str) -> str | None:
        value = self._get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, value)
        return value

    def _get(self, key: str) -> Any:
        return self.values.get(f"{self.architecture}.{key}")

    def _wrong(self, key: str, value: Any) -> CheckpointError:
        found = "is missing" if value is None else f"is {str(value)[:80]}"
        return CheckpointError(f"{self.path}: {self.architecture}.{key} {found}. The file is damaged or unsupported.")


def translate(metadata: Metadata, names: frozenset[str], vocab_size: int) -> dict[str, Any]:
    """The config. `names` are the tensors' names in the file."""
    if metadata.architecture == "gpt2":
        config = _gpt2(metadata)
    else:
        config = _llama_like(metadata)
        if metadata.architecture == "llama":
            config["attention_bias"] = "blk.0.attn_q.bias" in names
            config["mlp_bias"] = "blk.0.ffn_up.bias" in names
    eos = stop_ids(metadata.values)
    return config | {
        "vocab_size": vocab_size,
        "tie_word_embeddings": "output.weight" not in names,
        "bos_token_id": metadata.values.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": eos[0] if len(eos) == 1 else eos or None,
        "pad_token_id": metadata.values.get("tokenizer.ggml.padding_token_id"),
    }


def _llama_like(metadata: Metadata) -> dict[str, Any]:
    if metadata.size("expert_count", 1) > 1:
        raise CheckpointError(f"{metadata.path} is a mixture of experts, which is not supported.")
    hidden, heads = metadata.size("embedding_length"), metadata.size("attention.head_count")
    head_dim = metadata.size("attention.key_length", hidden // heads)
    if metadata.size("rope.dimension_count", head_dim) != head_dim:
        raise CheckpointError(f"{metadata.path} rotates only a part of each head, which is not supported.")
    kv_heads = metadata.size("attention.head_count_kv", heads)
    if head_dim < 1 or heads % kv_heads:
        raise CheckpointError(
            f"{metadata.path}: {heads} heads, {kv_heads} of keys, width {hidden} do not fit together."
        )
    context = metadata.size("context_length")
    return {
        "model_type": metadata.architecture,
        "architectures": [FAMILIES[metadata.architecture]],
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": metadata.size("feed_forward_length"),
        "num_hidden_layers": metadata.size("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": context,
        "rms_norm_eps": metadata.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": metadata.number("rope.freq_base", 10000.0),
        "rope_scaling": _rope_scaling(metadata, context),
    }


def _rope_scaling(metadata: Metadata, context: int) -> dict[str, Any] | None:
    kind = metadata.text("rope.scaling.type")
    if kind in (None, "none", "linear"):
        # Old files have no type, only this factor. 0 means none.
        factor = metadata.number("rope.scaling.factor", metadata.number("rope.scale_linear", 0.0))
        return None if kind == "none" or factor in (0.0, 1.0) else {"rope_type": "linear", "factor": factor}
    if kind != "yarn":
        raise CheckpointError(f"{metadata.path} scales its rotary positions by {kind!r}; known are linear and yarn.")
    factor = metadata.number("rope.scaling.factor")
    scaling = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": metadata.size("rope.scaling.original_context_length", context),
    }
    for ours, theirs in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
        if metadata.number(f"rope.scaling.{theirs}", 0.0):
            scaling[ours] = metadata.number(f"rope.scaling.{theirs}")
    attention = metadata.number("rope.scaling.attn_factor", 1.0)
    if attention != 1.0:  # a multiplier there, the whole factor here
        scaling["attention_factor"] = attention * (0.1 * math.log(factor) + 1.0)
    return scaling


def _gpt2(metadata: Metadata) -> dict[str, Any]:
    context = metadata.size("context_length")
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new",
        "n_embd": metadata.size("embedding_length"),
        "n_inner": metadata.size("feed_forward_length"),
        "n_layer": metadata.size("block_count"),
        "n_head": metadata.size("attention.head_count"),
        "n_positions": context,
        "n_ctx": context,
        "layer_norm_epsilon": metadata.number("attention.layer_norm_epsilon"),
    }
