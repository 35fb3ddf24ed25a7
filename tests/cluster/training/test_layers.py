from __future__ import annotations

from typing import Any

import pytest
import transformers

from cluster.training.layers import TrainLayers, freeze
from engine.errors import ConfigError

SMALL = {"vocab_size": 20, "num_hidden_layers": 3, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
MODELS = {
    "bert": (SMALL, "bert.encoder.layer.", {"bert.pooler.dense.weight", "classifier.weight"}),
    "roberta": (SMALL, "roberta.encoder.layer.", {"classifier.dense.weight", "classifier.out_proj.weight"}),
    "distilbert": (
        {"vocab_size": 20, "n_layers": 3, "dim": 16, "n_heads": 2, "hidden_dim": 32},
        "distilbert.transformer.layer.",
        {"pre_classifier.weight", "classifier.weight"},
    ),
    "modernbert": (
        SMALL | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
        "model.layers.",
        {"model.final_norm.weight", "head.dense.weight", "classifier.weight"},
    ),
}


def model_of(kind: str) -> Any:
    config = transformers.AutoConfig.for_model(kind, **MODELS[kind][0])
    return transformers.AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("layers", "first"), [("head", 3), (0, 3), (1, 2), (3, 0)])
def test_the_head_and_the_top_layers_are_trained(kind: str, layers: TrainLayers, first: int) -> None:
    _, prefix, head = MODELS[kind]
    model = model_of(kind)
    freeze(model, layers)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert head <= trained
    assert not any("embeddings" in name for name in trained)
    numbers = {int(name.removeprefix(prefix).split(".")[0]) for name in trained if name.startswith(prefix)}
    assert numbers == set(range(first, 3))


def test_all_means_all() -> None:
    model = model_of("bert")
    freeze(model, "all")
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_more_layers_than_there_are() -> None:
    with pytest.raises(ConfigError, match="has 3 layers, not 4"):
        freeze(model_of("bert"), 4)
