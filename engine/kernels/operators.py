"""The operators compiled from `csrc/`, as the native kernels call them."""

from __future__ import annotations

import logging
from functools import cache

import torch
from torch import Tensor

from engine.kernels import build
from engine.kernels.base import Activation

log = logging.getLogger(__name__)

ACTIVATIONS: dict[Activation, int] = {"none": 0, "gelu": 1, "gelu_tanh": 2, "relu": 3, "silu": 4}


@cache
def load() -> bool:
    """Builds and loads the operators, once a process. False where they cannot be had."""
    path = build.library()
    if path is None:
        return False
    try:
        torch.ops.load_library(str(path))
    except OSError as error:  # a damaged file, or one from a system with other libraries
        log.warning("could not load the CPU kernels, going on with torch's: %s", error)
        return False
    return True


def op(name: str, *arguments: object) -> Tensor:
    """Calls an operator of `csrc/`; torch knows them by name only."""
    result: Tensor = getattr(torch.ops.stageline, name)(*arguments)
    return result


def has_amx() -> bool:
    """Whether bf16 products run on AMX here."""
    return load() and bool(torch.ops.stageline.has_amx())


def has_dot() -> bool:
    """Whether the processor has dot products of bf16 pairs."""
    return load() and bool(torch.ops.stageline.has_dot())
