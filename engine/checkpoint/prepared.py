"""A folder whose products' weights are in few bits already, as `engine.quantization.prepare` writes it.

Beside a Hugging Face folder's files it has prepared.json. In model.safetensors the parts of a product's weight go by
`stageline.<product>.<part>`, those of one that stayed as it was by `stageline.<product>.weight`; everything else has
its own name. Tensors that such products were made of are there by name and shape only.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from engine.checkpoint.huggingface import HuggingFaceCheckpoint
from engine.errors import CheckpointError
from engine.quantization.weight import SCHEMES, VALUES, QuantizedWeight, Scheme, Weight, check
from engine.text.json_files import read_json_object

FILE = "prepared.json"
FORMAT = 1
PREFIX = "stageline."


def part_name(product: str, part: str) -> str:
    """The name in model.safetensors of one part of a product's weight."""
    return f"{PREFIX}{product}.{part}"


def made_from(folder: Path) -> str | None:
    """The digest of the weights that a prepared folder was made from, "" where it does not say; None for a folder that
    is not one. Raises CheckpointError where prepared.json is damaged."""
    path = folder / FILE
    return str(read_json_object(path).get("base", "")) if path.exists() else None


class PreparedCheckpoint(HuggingFaceCheckpoint):
    """Raises `CheckpointError` where prepared.json and the weights do not belong together."""

    def __init__(self, path: Path) -> None:
        about = read_json_object(path / FILE)
        self._schemes, self._replaced = _read_about(about, path / FILE)
        self.precision = about["precision"]
        super().__init__(path)

    def names(self) -> frozenset[str]:
        stored = {name for name in super().names() if not name.startswith(PREFIX)}
        return frozenset(stored | self._replaced.keys())

    def shape(self, name: str) -> tuple[int, ...]:
        return self._replaced[name] if name in self._replaced else super().shape(name)

    def _read(self, name: str, dtype: torch.dtype) -> Tensor:
        if name in self._replaced:
            return torch.empty(self._replaced[name], dtype=dtype, device="meta")
        return super()._read(name, dtype)

    def alike(self, one: str, other: str, dtype: torch.dtype) -> bool:
        # What products were made of is not here; and of tensors that were the same only one is.
        return not {one, other} & self._replaced.keys() and super().alike(one, other, dtype)

    def product(self, name: str, weight: Weight) -> Weight:
        if name not in self._schemes:
            raise CheckpointError(f"{self.path} has no weight for {name}; quantize the model again")
        scheme = self._schemes[name]
        if scheme is None:
            return self.tensor(part_name(name, "weight"), cast(Tensor, weight).dtype)
        present = super().names()
        parts: dict[str, Any] = {
            part: self._part(name, part, torch.float32)
            for part in ("scales", "zeros", "multiplier")
            if part_name(name, part) in present
        }
        if "scales" not in parts:
            raise CheckpointError(f"{self.path} has no scales for {name}; quantize the model again")
        values = self._part(name, "values", VALUES.get(scheme, torch.int8))
        found = QuantizedWeight(scheme, values, parts.pop("scales"), **parts)
        check(f"{self.path}, {name}", found)
        return found

    def held(self, name: str, weight: Weight) -> tuple[Scheme | None, int]:
        if name not in self._schemes:
            raise CheckpointError(f"{self.path} has no weight for {name}; quantize the model again")
        scheme = self._schemes[name]
        if scheme is None:
            return super().held(name, weight)
        parts = [part_name(name, part) for part in ("values", "scales", "zeros", "multiplier")]
        stored = {part: self._where[part].dtype(part).itemsize for part in parts if part in self._where}
        return scheme, sum(math.prod(self.shape(part)) * size for part, size in stored.items())

    def _part(self, product: str, part: str, dtype: torch.dtype) -> Tensor:
        name = part_name(product, part)
        if name in self._where and self._where[name].dtype(name) != dtype:
            raise CheckpointError(
                f"{self.path}: {name} is stored as {self._where[name].dtype(name)}, not as {dtype}; quantize the model "
                "again"
            )
        return self.tensor(name, dtype)


def _read_about(about: dict[str, Any], path: Path) -> tuple[dict[str, Scheme | None], dict[str, tuple[int, ...]]]:
    schemes, replaced = about.get("products"), about.get("replaced")
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: format {about.get('format')!r} is not the one of this version ({FORMAT}); quantize again"
        )
    sound = (
        about.get("precision") in SCHEMES
        and isinstance(schemes, dict)
        and all(scheme is None or scheme in SCHEMES for scheme in schemes.values())
        and isinstance(replaced, dict)
        and all(isinstance(s, list) and all(type(n) is int and n >= 0 for n in s) for s in replaced.values())
    )
    if not sound:
        raise CheckpointError(f"{path} is damaged; quantize the model again")
    assert schemes is not None
    assert replaced is not None
    return schemes, {name: tuple(shape) for name, shape in replaced.items()}
