"""Products of int8 and int4 weights whose x stays as it is, against what the weights stand for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.kernels import TorchKernels, native_weight_only
from engine.kernels.base import Activation
from engine.kernels.native import NativeKernels
from engine.kernels.operators import ACTIVATIONS, load
from engine.quantization.weight import QuantizedWeight, check

pytestmark = pytest.mark.skipif(not load(), reason="no C++ compiler: the native kernels are not in use here")

CPU = torch.device("cpu")
WAYS = [(torch.float32, False), (torch.bfloat16, False)]  # x's dtype, whether it is multiplied in pairs
WAYS += [(torch.bfloat16, True)] * native_weight_only.in_pairs(torch.bfloat16)
BITS = [8, 4]
SHAPES = [  # outputs, inputs, inputs of a group
    (32, 16, 16),
    (64, 96, 32),
    (100, 192, 64),
    (33, 384, 128),
    (40, 576, 576),
    (70, 600, 300),
    (96, 36, 36),
    (31, 20, 10),
    (65, 30, 5),
    (1, 2, 2),
]


def weight(bits: int, outputs: int, inputs: int, group: int, *, exact: bool = True) -> QuantizedWeight:
    """A random one; its scales and zeros are bf16 numbers if `exact`."""
    generator = torch.Generator().manual_seed(outputs + inputs)
    groups = inputs // group
    scales = torch.rand(outputs, groups, generator=generator) * 0.02 + 0.001
    zeros = torch.rand(outputs, groups, generator=generator) * 15
    if exact:
        scales, zeros = scales.bfloat16().float(), zeros.round()
    if bits == 4:
        values = torch.randint(0, 256, (outputs, inputs // 2), generator=generator, dtype=torch.uint8)
        made = QuantizedWeight("int4-weight", values, scales, zeros)
    else:
        values = torch.randint(-127, 128, (outputs, inputs), generator=generator, dtype=torch.int8)
        made = QuantizedWeight("int8-weight", values, scales)
    check("weight", made)
    return made


def inputs_of(made: QuantizedWeight, rows: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(rows)
    return torch.randn(rows, made.shape[1], generator=generator).to(dtype)


def product(x: Tensor, made: QuantizedWeight) -> Tensor:
    return (x.double() @ made.dequantized(torch.float64).T).float()


def assert_near(ours: Tensor, exact: Tensor) -> None:
    """Within the rounding of fp32 sums, relative to the largest: terms cancel out."""
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, exact, rtol=0, atol=2e-6 * float(exact.abs().max()))


@pytest.mark.parametrize(("dtype", "pairs"), WAYS)
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("outputs", "inputs", "group"), SHAPES)
def test_products_are_those_of_what_the_weight_stands_for(
    dtype: torch.dtype, pairs: bool, exact: bool, bits: int, outputs: int, inputs: int, group: int
) -> None:
    made = weight(bits, outputs, inputs, group, exact=exact)
    ours = native_weight_only.linear(made, None, pairs)
    for rows in (1, 13, 40):
        x = inputs_of(made, rows, dtype)
        assert_near(ours.logits(x), product(x, made))


@pytest.mark.parametrize("bits", BITS)
def test_scales_are_held_in_half_the_bytes_where_nothing_is_lost(bits: int) -> None:
    narrow, wide = (native_weight_only.pack(weight(bits, 64, 64, 32, exact=exact), False) for exact in (True, False))
    assert wide.packed.nbytes - narrow.packed.nbytes == 64 * 2 * 2 * (2 if bits == 4 else 1)


@pytest.mark.parametrize(("dtype", "pairs"), WAYS)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [16, 64, 320])
def test_a_row_does_not_depend_on_its_neighbours(dtype: torch.dtype, pairs: bool, bits: int, group: int) -> None:
    made = weight(bits, 70, 320, group, exact=False)
    ours = native_weight_only.linear(made, None, pairs)
    x = inputs_of(made, 100, dtype)
    alone = torch.cat([ours.logits(row) for row in x.split(1)])
    for rows in (2, 3, 7, 13, 40, 100):
        assert torch.equal(torch.cat([ours.logits(part) for part in x.split(rows)]), alone)
    loud = x.clone()
    loud[1::2] = torch.inf
    assert torch.equal(ours.logits(loud)[::2], alone[::2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_follows_a_product(dtype: torch.dtype, bits: int, activation: Activation) -> None:
    made = weight(bits, 100, 192, 64)
    bias, x = torch.randn(100), inputs_of(made, 5, dtype) / 4
    ours = NativeKernels(dtype, amx=False).linear(made, bias)
    exact = TorchKernels(torch.float32, CPU).linear(made.dequantized(), bias)
    got = ours(x, activation)
    assert got.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(got.float(), exact(x.float(), activation), rtol=tolerance, atol=tolerance)
    assert_near(ours.logits(x), product(x, made) + bias)
    hidden = torch.randn(5, 100)
    expected = hidden + product(x, made) + bias
    ours.add_to(hidden, x)
    assert_near(hidden, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("width", [48, 40, 20])
def test_gate(dtype: torch.dtype, bits: int, width: int) -> None:
    made = weight(bits, 2 * width, 64, 32)
    x = inputs_of(made, 9, dtype) / 4
    got = NativeKernels(dtype, amx=False).gate(made, "silu")(x)
    gate, up = product(x, made).chunk(2, dim=-1)
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(got.float(), torch.nn.functional.silu(gate) * up, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", BITS)
def test_tied_embedding_is_the_weight(dtype: torch.dtype, bits: int) -> None:
    made = weight(bits, 70, 60, 20)
    bias = torch.randn(70)
    embedding, head = NativeKernels(dtype, amx=False).tied_embedding(made, 2.0, bias)
    ids = torch.tensor([69, 0, 33, 33, 5])
    assert torch.equal(embedding(ids), 2 * made.dequantized()[ids])
    x = inputs_of(made, 3, dtype)
    assert_near(head.logits(x), product(x, made) + bias)
    with pytest.raises(RuntimeError, match="out of range"):
        embedding(torch.tensor([96]))


@pytest.mark.parametrize("bits", BITS)
def test_x_of_another_width_is_refused(bits: int) -> None:
    ours = native_weight_only.linear(weight(bits, 32, 64, 32), None, pairs=False)
    with pytest.raises(RuntimeError, match="differ in width"):
        ours.logits(torch.randn(2, 96))
