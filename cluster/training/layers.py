"""Which parameters of a model are trained."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from engine.errors import ConfigError

TrainLayers = int | Literal["head", "all"]


def freeze(model: Any, layers: TrainLayers) -> None:
    """Leave only the head trainable, or the head and the top layers. What comes after the layers (a pooler, a last
    norm) belongs to the head.

    Frozen layers come first, so that autograd keeps nothing for them. Raises `ConfigError` if there are fewer layers.
    """
    if layers == "all":
        return
    name, stack = _stack(model)
    keep = 0 if layers == "head" else layers
    if not 0 <= keep <= len(stack):
        raise ConfigError(f"The model has {len(stack)} layers, not {keep}.", param="train_layers")
    first = len(stack) - keep
    reached = False  # parameters are listed in the order of the model's parts: embeddings, layers, what follows
    for path, parameter in model.named_parameters():
        if path.startswith(f"{name}."):
            reached = True
            parameter.requires_grad = int(path[len(name) + 1 :].split(".")[0]) >= first
        else:
            parameter.requires_grad = reached


def _stack(model: Any) -> tuple[str, nn.ModuleList]:
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return name, module
    raise ConfigError("The layers of this model cannot be told apart. Train all of them.", param="train_layers")
