"""A quantized weight as data. How its product is computed fastest is the kernels' own matter."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from engine.errors import CheckpointError

Scheme = Literal["int8-dynamic", "int8-static", "int8-weight", "int4-weight", "fp8"]
VALUES: dict[str, torch.dtype] = {"int4-weight": torch.uint8, "fp8": torch.float8_e4m3fn}
"""What values are stored as where that is not int8."""

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A weight (N, K) of a product x W^T, G groups of consecutive inputs a row.

    int8-dynamic  `values` (N, K) int8 in -127..127, `scales` (N,). A row of x is multiplied by `multiplier` (K,) where
                  there is one, divided by its own greatest absolute value / 127 and rounded to int8.
    int8-static   as above, but x * `multiplier` is rounded and clamped to -127..127 as it is: the multiplier, always
                  there, holds the calibrated scale.
    int8-weight   `values` (N, K) int8, `scales` (N, G); x stays as it is.
    int4-weight   `values` (N, K / 2) uint8, two numbers 0..15 a byte, the earlier input in the low half; `scales` and
                  `zeros` (N, G): a weight is scale * (number - zero).
    fp8           `values` (N, K) float8_e4m3fn, `scales` (N,); x as for int8-dynamic, with 448 in the place of 127.

    Scales, zeros and multiplier are fp32. Where there is a multiplier m, `values` stand for W / m: the product is the
    same. Halves and ties of activations round to even.
    """

    scheme: Scheme
    values: Tensor
    scales: Tensor
    zeros: Tensor | None = None
    multiplier: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)"""
        rows, width = self.values.shape
        return rows, width * 2 if self.scheme == "int4-weight" else width

    @property
    def group(self) -> int:
        """Inputs that share a scale: K where scales are one a row."""
        return self.shape[1] if self.scales.dim() == 1 else self.shape[1] // self.scales.shape[1]

    def __len__(self) -> int:
        return self.values.shape[0]

    def numel(self) -> int:
        rows, width = self.shape
        return rows * width

    def nbytes(self) -> int:
        """Of all its parts."""
        return sum(part.nbytes for part in (self.values, self.scales, self.zeros, self.multiplier) if part is not None)

    def chunk(self, count: int) -> tuple[QuantizedWeight, ...]:
        """Its rows in `count` equal parts."""
        zeros = [None] * count if self.zeros is None else self.zeros.chunk(count)
        parts = zip(self.values.chunk(count), self.scales.chunk(count), zeros, strict=True)
        return tuple(replace(self, values=v, scales=s, zeros=z) for v, s, z in parts)

    def dequantized(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight (N, K) that it stands for, the multiplier undone."""
        rows, width = self.shape
        numbers = self.values
        if self.scheme == "int4-weight":
            numbers = torch.stack((numbers & 15, numbers >> 4), dim=-1).flatten(1)
        grouped = numbers.float().view(rows, -1, self.group)
        if self.zeros is not None:
            grouped = grouped - self.zeros[..., None]
        weight = (grouped * self.scales.view(rows, -1, 1)).view(rows, width)
        return (weight if self.multiplier is None else weight * self.multiplier).to(dtype)

    def to(self, device: torch.device) -> QuantizedWeight:
        """With all its parts there."""
        return QuantizedWeight(self.scheme, **{name: part.to(device) for name, part in self.parts().items()})

    def parts(self) -> dict[str, Tensor]:
        """Its tensors by name, as files hold them."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "scheme"}
        return {name: part for name, part in named.items() if part is not None}


Weight = Tensor | QuantizedWeight


def check(name: str, weight: QuantizedWeight) -> None:
    """Raises CheckpointError where its parts do not fit together: kernels trust them."""

    def wrong(what: str) -> CheckpointError:
        return CheckpointError(f"{name}: {what}; quantize the model again")

    if weight.values.dim() != 2 or weight.values.dtype != VALUES.get(weight.scheme, torch.int8):
        raise wrong(f"values {tuple(weight.values.shape)} {weight.values.dtype} do not make {weight.scheme}")
    rows, width = weight.shape
    grouped = weight.scheme in ("int8-weight", "int4-weight")
    scales = weight.scales
    if scales.dim() != 1 + grouped or scales.shape[0] != rows or (grouped and width % (scales.shape[1] or width + 1)):
        raise wrong(f"scales {tuple(scales.shape)} for a weight of {rows} x {width}")
    if weight.scheme == "int8-weight" and weight.values.numel() and int(weight.values.amin()) == -128:
        raise wrong("values go from -127 to 127, and some are -128")
    if (weight.zeros is not None) != (weight.scheme == "int4-weight"):
        raise wrong("zeros belong to int4-weight, and only there")
    if weight.zeros is not None and weight.zeros.shape != scales.shape:
        raise wrong("zeros and scales differ in shape")
    if weight.multiplier is not None and (grouped or weight.multiplier.shape != (width,)):
        raise wrong(f"a multiplier {tuple(weight.multiplier.shape)} for {width} inputs of {weight.scheme}")
    if weight.multiplier is None and weight.scheme == "int8-static":
        raise wrong("static activations need a multiplier")
    for what, part in weight.parts().items():
        if what != "values" and (part.dtype != torch.float32 or not bool(part.isfinite().all())):
            raise wrong(f"{what} are not finite fp32 numbers")
