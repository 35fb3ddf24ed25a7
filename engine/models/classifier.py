"""The heads that turn a text's vector into class scores, as the encoder families have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.kernels import Activation, Kernels
from engine.models.architecture import activation
from engine.models.block import Norm
from engine.models.named import Named
from engine.models.weights import Affine, NormWeights, check_norm, check_shape


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """`dense` with its activation and `norm`, then `scores`. What `pooling` gives goes in."""

    pooling: Literal["cls", "mean"]
    dense: Affine
    activation: Activation | Literal["tanh"]
    norm: NormWeights | None
    norm_eps: float
    scores: Affine


def bert_head(named: Named, config: Mapping[str, Any]) -> HeadWeights:
    return HeadWeights("cls", named.affine("pooler.dense"), "tanh", None, 0.0, named.affine("classifier"))


def roberta_head(named: Named, config: Mapping[str, Any]) -> HeadWeights:
    dense, scores = named.affine("classifier.dense"), named.affine("classifier.out_proj")
    return HeadWeights("cls", dense, "tanh", None, 0.0, scores)


def distilbert_head(named: Named, config: Mapping[str, Any]) -> HeadWeights:
    return HeadWeights("cls", named.affine("pre_classifier"), "relu", None, 0.0, named.affine("classifier"))


def modernbert_head(named: Named, config: Mapping[str, Any]) -> HeadWeights:
    pooling = config.get("classifier_pooling", "cls")
    if pooling not in ("cls", "mean"):
        raise CheckpointError(f"config.json: classifier_pooling {pooling!r} is not supported; cls and mean are")
    return HeadWeights(
        pooling,
        named.affine("head.dense"),
        activation(config.get("classifier_activation", "gelu")),
        named.norm("head.norm"),
        float(config.get("norm_eps", 1e-5)),
        named.affine("classifier"),
    )


class Classifier:
    """Vectors (B, C) fp32 -> scores (B, labels) fp32. Raises CheckpointError for shapes that do not fit."""

    def __init__(self, kernels: Kernels, weights: HeadWeights, width: int, labels: int) -> None:
        for what, affine, shape in (
            ("classifier's dense layer", weights.dense, (width, width)),
            ("classifier", weights.scores, (labels, width)),
        ):
            check_shape(what, affine.weight, shape)
            if affine.bias is not None:
                check_shape(f"bias of the {what}", affine.bias, shape[:1])
        self.kernels = kernels
        self.pooling = weights.pooling
        self.tanh = weights.activation == "tanh"
        self.activation: Activation = "none" if weights.activation == "tanh" else weights.activation
        self.dense = kernels.linear(weights.dense.weight, weights.dense.bias)
        self.scores = kernels.linear(weights.scores.weight, weights.scores.bias)
        self.norm: Norm | None = None
        if weights.norm is not None:
            check_norm("classifier's norm", weights.norm, width)
            weight, bias = (
                None if t is None else t.to(kernels.device) for t in (weights.norm.weight, weights.norm.bias)
            )
            assert weight is not None
            self.norm = Norm(kernels, weight, bias, weights.norm_eps, rms=False)

    @torch.inference_mode()
    def __call__(self, pooled: Tensor) -> Tensor:
        x = self.dense(self.kernels.narrow(pooled), self.activation)
        if self.tanh:
            x = x.tanh()
        if self.norm is not None:
            x = self.norm(x.float())
        return self.scores.logits(x)
