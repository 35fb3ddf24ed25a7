"""GGUF tensor names and layouts -> those of a Hugging Face checkpoint of the same family."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Layout = Literal["same", "transposed", "query", "key"]

_LLAMA_TOP = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    # Hugging Face has no such tensor but Llama 3's scaling parameters: each rotary frequency is divided by its factor.
    "rope_freqs": "rope_freqs",
}
_LLAMA_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GPT2_TOP = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
}
_GPT2_LAYER = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}

_ROTARY_TABLE = re.compile(r"blk\.\d+\.attn_rot_embd\.weight")  # in old files; computed anew
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a Hugging Face tensor comes from.

    `layout`: "transposed" for GPT-2's Conv1D weights, which Hugging Face keeps (in, out) and GGUF (out, in); "query"
    and "key" for the Llama architecture's projections, whose rows GGUF reorders within each head.
    """

    name: str
    layout: Layout


def is_redundant(name: str) -> bool:
    """Whether nothing needs the tensor."""
    return _ROTARY_TABLE.fullmatch(name) is not None


def huggingface_name(architecture: str, name: str) -> tuple[str, Source] | None:
    """The Hugging Face name of a GGUF tensor and where to read it; None if the architecture has none such."""
    stem, _, suffix = name.rpartition(".")
    if suffix not in ("weight", "bias"):
        return None
    gpt2 = architecture == "gpt2"
    top, layers = (_GPT2_TOP, _GPT2_LAYER) if gpt2 else (_LLAMA_TOP, _LLAMA_LAYER)
    if stem in top:
        return f"{top[stem]}.{suffix}", Source(name, "same")
    match = _LAYER.fullmatch(stem)
    if match is None or match[2] not in layers:
        return None
    prefix = "transformer.h" if gpt2 else "model.layers"
    layout: Layout = "same"
    if gpt2 and suffix == "weight" and not match[2].endswith("_norm"):
        layout = "transposed"
    elif architecture == "llama" and match[2] in ("attn_q", "attn_k"):
        layout = "query" if match[2] == "attn_q" else "key"
    return f"{prefix}.{match[1]}.{layers[match[2]]}.{suffix}", Source(name, layout)
