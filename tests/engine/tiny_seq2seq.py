"""Small random checkpoints of every encoder-decoder family, as `transformers` writes them, and their references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

VOCABULARY = 131

BART: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 80,
    "max_position_embeddings": 128,
    "pad_token_id": 1,
    "bos_token_id": 3,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
MARIAN = {
    **BART,
    "decoder_vocab_size": VOCABULARY,
    "pad_token_id": VOCABULARY - 1,
    "eos_token_id": 0,
    "decoder_start_token_id": VOCABULARY - 1,
    "forced_eos_token_id": 0,
    "scale_embedding": True,
    "activation_function": "swish",
    "bad_words_ids": [[VOCABULARY - 1]],
}
T5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 48,
    "d_kv": 20,
    "d_ff": 72,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}

# name -> (model_type, config)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "marian": ("marian", MARIAN),
    "marian-two-vocabularies": (
        "marian",
        {
            **MARIAN,
            "share_encoder_decoder_embeddings": False,
            "vocab_size": 97,
            "pad_token_id": 96,
            "decoder_start_token_id": 96,
            "bad_words_ids": [[96]],
        },
    ),
    "bart": ("bart", {**BART, "activation_function": "gelu"}),
    "mbart": ("mbart", {**BART, "activation_function": "gelu", "scale_embedding": True}),
    "m2m100": ("m2m_100", {**BART, "activation_function": "relu", "scale_embedding": True}),
    "t5": ("t5", T5),
    "t5-1.1": ("t5", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5": ("mt5", {**T5, "feed_forward_proj": "gated-gelu"}),
}


def write_checkpoint(name: str, folder: Path, seed: int = 0, **changes: Any) -> Any:
    """Writes a random checkpoint of the family into `folder` and returns `transformers`' model of it."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    kind, config = FAMILIES[name]
    torch.manual_seed(seed)
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(kind, **{**config, **changes})).eval()
    # The initial weights are so small that logits hardly differ. T5's scores are not scaled: with weights much larger
    # its own fp32 is further than 1e-4 from fp64.
    spread = 0.1 if "t5" in kind else 0.2
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * spread + (parameter == 1))
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_()
    model.save_pretrained(folder)
    return model
