"""Quantized weights on torch: fp8, emulated here, and weights that x is not rounded for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.kernels import Kernels, TorchKernels
from engine.kernels.native import NativeKernels
from engine.kernels.operators import load
from engine.kernels.torch_products import activate
from engine.quantization.weight import QuantizedWeight, check

CPU = torch.device("cpu")
TORCH: list[Kernels] = [TorchKernels(dtype, CPU) for dtype in (torch.float32, torch.bfloat16)]
ALL = TORCH + [NativeKernels(one.dtype, amx=False) for one in TORCH] * load()


def name(kernels: Kernels) -> str:
    return f"{kernels.name}-{str(kernels.dtype).removeprefix('torch.')}"


def fp8(outputs: int, inputs: int, multiplier: Tensor | None = None) -> QuantizedWeight:
    weight = torch.randn(outputs, inputs) / inputs**0.5
    scales = weight.abs().amax(dim=1) / 448
    values = (weight / scales[:, None]).to(torch.float8_e4m3fn)
    made = QuantizedWeight("fp8", values, scales, multiplier=multiplier)
    check("weight", made)
    return made


def groups(scheme: str, outputs: int, inputs: int, group: int) -> QuantizedWeight:
    scales = torch.rand(outputs, inputs // group) / inputs**0.5
    if scheme == "int4-weight":
        values = torch.randint(0, 256, (outputs, inputs // 2), dtype=torch.uint8)
        made = QuantizedWeight("int4-weight", values, scales, zeros=torch.full_like(scales, 7.5))
    else:
        values = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
        made = QuantizedWeight("int8-weight", values, scales / 16)
    check("weight", made)
    return made


def close(ours: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours.double(), expected.double(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kernels", ALL, ids=name)
@pytest.mark.parametrize("multiplied", [False, True])
def test_fp8_rounds_rows_and_weights(kernels: Kernels, multiplied: bool) -> None:
    torch.manual_seed(0)
    weight, bias = fp8(48, 70, torch.rand(70) + 0.5 if multiplied else None), torch.randn(48)
    x = torch.randn(9, 70).to(kernels.dtype)
    x[3] = 0
    x[4] *= 1000
    wide = x.float() if weight.multiplier is None else x.float() * weight.multiplier
    most = wide.abs().amax(dim=1, keepdim=True)
    rows = (wide * torch.where(most == 0, 0.0, torch.tensor(448.0) / most)).to(torch.float8_e4m3fn)
    expected = rows.double() @ weight.values.double().T * (most / 448).double() * weight.scales.double()
    close(kernels.linear(weight, bias).logits(x) - bias, expected, 1e-4)
    plain = wide.double() @ (weight.values.double() * weight.scales[:, None]).T
    assert 0.001 < (expected - plain).norm() / plain.norm() < 0.05  # three bits of mantissa, on one side
    gate, up = expected.chunk(2, dim=1)
    close(kernels.gate(weight, "silu")(x)[:4], (activate(gate, "silu") * up)[:4], 2e-2)
    embedding, _ = kernels.tied_embedding(weight, 2.0)
    ids = torch.tensor([47, 0, 3])
    assert torch.equal(embedding(ids), 2 * weight.dequantized()[ids])


@pytest.mark.parametrize("kernels", TORCH, ids=name)
def test_fp8_rows_do_not_share_a_scale(kernels: Kernels) -> None:
    torch.manual_seed(1)
    linear, x = kernels.linear(fp8(64, 96)), torch.randn(5, 96).to(kernels.dtype)
    alone = linear.logits(x)
    x[2] *= 4e4
    close(linear.logits(x)[[0, 1, 3, 4]], alone[[0, 1, 3, 4]], 1e-5)


@pytest.mark.parametrize("kernels", TORCH, ids=name)
@pytest.mark.parametrize("scheme", ["int8-weight", "int4-weight"])
def test_other_weights_are_what_they_stand_for(kernels: Kernels, scheme: str) -> None:
    torch.manual_seed(2)
    weight, bias, x = groups(scheme, 64, 96, 32), torch.randn(64), torch.randn(7, 96).to(kernels.dtype)
    plain, tolerance = weight.dequantized(), 1e-4 if kernels.dtype == torch.float32 else 3e-2
    expected = x.float() @ plain.T
    close(kernels.linear(weight, bias)(x, "relu"), (expected + bias).relu(), tolerance)
    gate, up = expected.chunk(2, dim=1)
    close(kernels.gate(weight, "gelu")(x), activate(gate, "gelu") * up, tolerance)
    embedding, head = kernels.tied_embedding(weight, 2.0, bias)
    ids = torch.tensor([63, 0])
    assert torch.equal(embedding(ids), 2 * plain.to(kernels.dtype)[ids].float())
    close(head.logits(x), expected + bias, tolerance)
