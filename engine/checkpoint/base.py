"""What every kind of checkpoint offers."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from engine.errors import CheckpointError
from engine.quantization.weight import Scheme, Weight
from engine.text.tokenizer import Tokenizer


class Checkpoint(ABC):
    """One model's files, open for reading.

    `config` has the keys of a Hugging Face config.json, and tensors have Hugging Face's names for that family,
    whatever the files call them. `generation_config` is {} when the files have none.
    """

    path: Path
    config: dict[str, Any]
    precision: Scheme | None = None  # of products that are quantized in the files
    generation_config: dict[str, Any]

    @abstractmethod
    def names(self) -> frozenset[str]:
        """Names of all tensors."""

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one tensor, without reading it. Raises `CheckpointError` if there is none of that name."""

    @abstractmethod
    def _read(self, name: str, dtype: torch.dtype) -> torch.Tensor: ...

    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """Build the tokenizer. Raises `CheckpointError` if the files have none or it is damaged."""

    @abstractmethod
    def close(self) -> None:
        """Unmap the files. Tensors that were read stay valid."""

    def product(self, name: str, weight: Weight) -> Weight:
        """What the kernels get for a product's weight, by the names of `engine.models.transform`: here the weight.

        A prepared checkpoint holds it in few bits under that name; it gives tensors without values ("meta") for its
        parts, for the families to stack as they do.
        """
        return weight

    def held(self, name: str, weight: Weight) -> tuple[Scheme | None, int]:
        """How `product` would give that weight: the scheme it is quantized by, and its bytes. Nothing is read, and
        `weight` may be one without values."""
        assert isinstance(weight, torch.Tensor)
        return None, weight.nbytes

    def tensor(self, name: str, dtype: torch.dtype, *, shape: Sequence[int] | None = None) -> torch.Tensor:
        """Read one tensor into memory of its own: contiguous, on the CPU, converted to `dtype`.

        The mapped pages are dropped again, so reading a whole model keeps no second copy in memory. With `shape`, a
        tensor of another shape is refused. Raises `CheckpointError`.
        """
        found = self.shape(name)
        if shape is not None and found != tuple(shape):
            raise CheckpointError(
                f"{self.path}: tensor {name!r} has shape {found} where the configuration asks for {tuple(shape)}. "
                "Weights and configuration are not of the same model."
            )
        return self._read(name, dtype)

    def alike(self, one: str, other: str, dtype: torch.dtype) -> bool:
        """Whether two tensors are the same in `dtype`; reads both where their shapes are. Raises `CheckpointError`."""
        return self.shape(one) == self.shape(other) and torch.equal(self.tensor(one, dtype), self.tensor(other, dtype))

    def _missing(self, name: str) -> CheckpointError:
        near = difflib.get_close_matches(name, self.names(), n=3, cutoff=0.5)
        hint = f" Nearest: {', '.join(near)}." if near else ""
        return CheckpointError(f"{self.path} has no tensor {name!r}.{hint}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
