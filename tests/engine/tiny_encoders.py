"""Small random checkpoints of every encoder family, as `transformers` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

VOCABULARY = 131

BERT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
MODERN: dict[str, Any] = {
    **BERT,
    "num_hidden_layers": 4,
    "local_attention": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}

# name -> (model_type, config)
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", BERT),
    "bert-relu": ("bert", {**BERT, "hidden_act": "relu", "layer_norm_eps": 1e-5}),
    "roberta": ("roberta", {**BERT, "type_vocab_size": 1, "pad_token_id": 1}),
    "xlm-roberta": ("xlm-roberta", {**BERT, "type_vocab_size": 1, "pad_token_id": 3}),
    "distilbert": (
        "distilbert",
        {
            "vocab_size": VOCABULARY,
            "dim": 48,
            "hidden_dim": 80,
            "n_layers": 3,
            "n_heads": 4,
            "max_position_embeddings": 128,
        },
    ),
    "modernbert": ("modernbert", MODERN),
    "modernbert-biased": (
        "modernbert",
        {
            **MODERN,
            "attention_bias": True,
            "mlp_bias": True,
            "norm_bias": True,
            "classifier_bias": True,
            "hidden_activation": "silu",
            "classifier_pooling": "mean",
        },
    ),
}


def make_model(name: str, auto: str = "AutoModel", **more: Any) -> Any:
    """A random model of the family with weights large enough to tell results apart."""
    import transformers

    kind, config = ENCODERS[name]
    torch.manual_seed(0)
    model = getattr(transformers, auto).from_config(transformers.AutoConfig.for_model(kind, **config, **more)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (parameter == 1))
    return model


def write_encoder(name: str, folder: Path, auto: str = "AutoModel", **more: Any) -> Any:
    """Writes a random checkpoint of the family into `folder` and returns the model."""
    model = make_model(name, auto, **more)
    model.save_pretrained(folder)
    return model
