"""A decoder's shape, whatever its family: properties, never names of models."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from engine.errors import CheckpointError
from engine.kernels import Activation, Heads

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary positions: the first `width` values of a head turn. `scaling` is the checkpoint's own description."""

    width: int
    theta: float
    scaling: Mapping[str, Any]
    original_positions: int


@dataclass(frozen=True, slots=True)
class Architecture:
    """What one decoder-only Transformer is made of. Sizes in values, positions in tokens."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    heads: Heads
    max_positions: int
    norm: Literal["rms", "layer"]
    norm_eps: float
    activation: Activation
    gated: bool
    positions: Literal["rotary", "learned", "sinusoidal"]
    rotary: Rotary | None = None
    norm_first: bool = True
    embedding_scale: float = 1.0
    tied_head: bool = False


def reads_config(architecture: Callable[[Mapping[str, Any]], S]) -> Callable[[Mapping[str, Any]], S]:
    """For the functions that make a shape of config.json: values of another kind than they expect, which anybody can
    write there, are a `CheckpointError` too."""

    @functools.wraps(architecture)
    def reading(config: Mapping[str, Any]) -> S:
        try:
            return architecture(config)
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
            raise CheckpointError(
                f"config.json: a value is not of the kind that this model family needs ({error})"
            ) from error

    return reading


ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


def activation(name: str) -> Activation:
    """The activation of that Hugging Face name. Raises CheckpointError for others."""
    try:
        return ACTIVATIONS[name]
    except KeyError:
        known = ", ".join(sorted(ACTIVATIONS))
        raise CheckpointError(f"config.json: activation {name!r} is not supported; known are {known}") from None


def require(config: Mapping[str, Any], key: str, *others: str) -> Any:
    """config[key], or the first of its other names. Raises CheckpointError where none is there."""
    for name in (key, *others):
        if config.get(name) is not None:
            return config[name]
    raise CheckpointError(f"config.json has no {key!r}, which this model family needs")


def optional(config: Mapping[str, Any], key: str) -> int | None:
    """As `positive`, or None where the key is missing or null."""
    return None if config.get(key) is None else positive(config, key)


def positive(config: Mapping[str, Any], key: str, *others: str) -> int:
    """As `require`, for a whole number above zero."""
    value = require(config, key, *others)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 31:
        raise CheckpointError(f"config.json: {key} must be a whole number above 0, not {value!r}")
    return value
