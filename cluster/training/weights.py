"""Trained parameters by name: their moving average, and the optimizer's state beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes; a tied one once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def average_of(parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def update_average(
    average: Mapping[str, torch.Tensor], parameters: Mapping[str, nn.Parameter], decay: float, step: int
) -> None:
    """Move the average towards the parameters; faster in the first steps, which would weigh too much else."""
    weight = 1 - min(decay, (step + 1) / (step + 10))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.values()), [parameters[name].detach() for name in average], weight)


@contextmanager
def using_weights(parameters: Mapping[str, nn.Parameter], weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """The parameters have these values meanwhile."""
    kept = average_of(parameters)
    with torch.no_grad():
        for name, tensor in weights.items():
            parameters[name].copy_(tensor)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in kept.items():
                parameters[name].copy_(tensor)


def optimizer_of(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    """AdamW's moments, named `moment.parameter`."""
    return {
        f"{moment}.{name}": optimizer.state[parameter][moment]
        for name, parameter in parameters.items()
        if parameter in optimizer.state
        for moment in _MOMENTS
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, torch.Tensor]
) -> None:
    """The reverse of `optimizer_of`."""
    for name, parameter in parameters.items():
        if f"step.{name}" in tensors:
            optimizer.state[parameter] = {
                moment: tensors[f"{moment}.{name}"].to(parameter.device) for moment in _MOMENTS
            }
