"""The kernels in `csrc/`: CPU only, fp32 and bf16; bf16 products run on AMX, or as dot products of pairs, where the
processor has them.

A row's result is the same bit for bit whatever else is in the batch; but for products in fp8, which torch computes.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.batch import Batch
from engine.errors import CheckpointError
from engine.kernels import native_quantized
from engine.kernels.base import Activation, CacheBlocks, Embedding, Gate, Heads, HeadSetup, Kernels, Linear
from engine.kernels.operators import ACTIVATIONS, has_amx, has_dot, load, op
from engine.kernels.torch_kernels import TorchKernels
from engine.kernels.torch_products import SplitGate
from engine.quantization.weight import QuantizedWeight, Weight

LAYOUTS = {"lanes": 0, "pairs": 1, "tiles": 2}  # of packed weights, see csrc/packing.h
WIDEST_HEAD = 512  # as in attention.cpp
PAIRED_BLOCK = 32  # positions that attention takes at once where it multiplies pairs


def untouched_zeros(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros whose pages come when they are first touched: filling a KV cache would take a second of each start."""
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    return torch.frombuffer(memory, dtype=dtype).view(*shape)


@dataclass(frozen=True, slots=True)
class PackedLinear:
    packed: Tensor  # see csrc/packing.h
    bias: Tensor | None  # (N,) fp32
    outputs: int

    def __call__(self, x: Tensor, activation: Activation = "none") -> Tensor:
        return op("linear", x, self.packed, self.bias, self.outputs, ACTIVATIONS[activation])

    def add_to(self, hidden: Tensor, x: Tensor) -> None:
        op("linear_add", x, self.packed, self.bias, hidden)

    def logits(self, x: Tensor) -> Tensor:
        return op("linear_fp32", x, self.packed, self.bias, self.outputs)


@dataclass(frozen=True, slots=True)
class PackedGate:
    packed: Tensor  # gate and up side by side
    activation: Activation

    def __call__(self, x: Tensor) -> Tensor:
        return op("linear_gate", x, self.packed, ACTIVATIONS[self.activation])


@dataclass(frozen=True, slots=True)
class PackedEmbedding:
    packed: Tensor
    width: int
    scale: float

    def __call__(self, ids: Tensor) -> Tensor:
        return op("embedding", ids, self.packed, self.width, self.scale)


@dataclass(frozen=True, slots=True)
class PlainEmbedding:
    table: Tensor  # (vocabulary, hidden)
    scale: float

    def __call__(self, ids: Tensor) -> Tensor:
        return op("look_up", ids, self.table, self.scale)


@dataclass(frozen=True, slots=True)
class NativeKernels:
    """Layouts: see `csrc/packing.h` and `csrc/paged_cache.h`. Large operations do not run on torch's own threads."""

    dtype: torch.dtype
    amx: bool  # for bf16 only, as `dot`
    dot: bool = False
    name: str = "native"

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def linear(self, weight: Weight, bias: Tensor | None = None) -> Linear:
        bias = None if bias is None else bias.float().contiguous()
        if isinstance(weight, QuantizedWeight):
            return native_quantized.linear(weight, bias, self.dtype)
        return PackedLinear(self._pack(weight), bias, len(weight))

    def gate(self, weight: Weight, activation: Activation) -> Gate:
        if isinstance(weight, QuantizedWeight):
            return native_quantized.gate(weight, activation, self.dtype)
        if len(weight) % 32 == 0:
            return PackedGate(self._pack(weight, paired=True), activation)
        gate, up = weight.chunk(2)
        return SplitGate(self.linear(gate), self.linear(up), activation)

    def embedding(self, weight: Weight, scale: float = 1.0) -> Embedding:
        if isinstance(weight, QuantizedWeight):
            weight = weight.dequantized(self.dtype)
        return PlainEmbedding(self._own(weight), scale)

    def tied_embedding(
        self, weight: Weight, scale: float = 1.0, bias: Tensor | None = None
    ) -> tuple[Embedding, Linear]:
        bias = None if bias is None else bias.float().contiguous()
        if isinstance(weight, QuantizedWeight):
            return native_quantized.tied_embedding(weight, scale, bias, self.dtype)
        packed = self._pack(weight)
        return PackedEmbedding(packed, weight.shape[1], scale), PackedLinear(packed, bias, len(weight))

    def add_rows(self, hidden: Tensor, table: Tensor, ids: Tensor) -> None:
        op("add_rows", hidden, table, ids)

    def narrow(self, hidden: Tensor) -> Tensor:
        return hidden if self.dtype == torch.float32 else op("narrow", hidden)

    def rms_norm(self, hidden: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        return op("norm", hidden, weight, None, eps, True, dtype)

    def layer_norm(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, eps: float, dtype: torch.dtype) -> Tensor:
        return op("norm", hidden, weight, bias, eps, False, dtype)

    def cache_bytes(self, block_size: int, heads: Heads) -> int:
        return 2 * heads.kv * block_size * self._padded(heads, block_size) * self.dtype.itemsize

    def make_cache(self, blocks: int, block_size: int, heads: Heads) -> CacheBlocks:
        if heads.width > WIDEST_HEAD:
            raise CheckpointError(f"heads of {heads.width} values are not supported; at most {WIDEST_HEAD} are")
        shape = (blocks, heads.kv, block_size * self._padded(heads, block_size))
        keys, values = (untouched_zeros(shape, self.dtype) for _ in range(2))
        return CacheBlocks(keys, values, block_size)

    def write_heads(self, qkv: Tensor, heads: Heads, setup: HeadSetup, cache: CacheBlocks, batch: Batch) -> None:
        op(
            "rope_write",
            qkv,
            heads.query,
            heads.kv,
            setup.cos,
            setup.sin,
            setup.q_norm,
            setup.k_norm,
            setup.eps,
            batch.positions,
            batch.slots,
            cache.keys,
            cache.values,
            cache.block_size,
            self._paired(cache.block_size),
        )

    def attention(self, qkv: Tensor, heads: Heads, cache: CacheBlocks, batch: Batch) -> Tensor:
        return op(
            "attention",
            qkv,
            heads.query,
            heads.kv,
            cache.keys,
            cache.values,
            batch.query_start,
            batch.context,
            batch.tables,
            heads.width**-0.5,
            cache.block_size,
            self._paired(cache.block_size),
        )

    def rotate(self, qkv: Tensor, heads: Heads, setup: HeadSetup, positions: Tensor) -> None:
        op(
            "rotate",
            qkv,
            heads.query,
            heads.kv,
            setup.cos,
            setup.sin,
            setup.q_norm,
            setup.k_norm,
            setup.eps,
            positions,
        )

    def packed_attention(
        self,
        qkv: Tensor,
        heads: Heads,
        starts: Tensor,
        *,
        scale: float,
        bias: Tensor | None = None,
        window: int | None = None,
    ) -> Tensor:
        return op("packed_attention", qkv, heads.query, heads.kv, starts, scale, bias, window)

    def put_slots(self, cache: Tensor, slots: Tensor, rows: Tensor) -> None:
        op("put_slots", cache, slots, rows)

    def gathered_attention(
        self,
        q: Tensor,
        cache: Tensor,
        table: Tensor,
        lengths: Tensor,
        heads: int,
        scale: float,
        bias: Tensor | None = None,
    ) -> Tensor:
        return op("gathered_attention", q, cache, table, lengths, heads, scale, bias)

    def log_sums(self, logits: Tensor) -> Tensor:
        return op("log_sums", logits)

    def best(self, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
        values, ids = torch.ops.stageline.best(logits, count)
        return values, ids

    def _paired(self, block_size: int) -> bool:
        return (self.amx or self.dot) and block_size % PAIRED_BLOCK == 0

    def _padded(self, heads: Heads, block_size: int) -> int:
        return -(-heads.width // 32) * 32 if self._paired(block_size) else heads.width

    def _pack(self, weight: Tensor, paired: bool = False) -> Tensor:
        layout = LAYOUTS["tiles" if self.amx else "pairs" if self.dot else "lanes"]
        return op("pack_weight", self._own(weight), paired, layout)

    def _own(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype).contiguous()


def kernels(dtype: torch.dtype) -> Kernels:
    """The fastest CPU kernels at hand for `dtype`."""
    if dtype in (torch.float32, torch.bfloat16) and load():
        narrow = dtype == torch.bfloat16
        return NativeKernels(dtype, amx=narrow and has_amx(), dot=narrow and has_dot())
    return TorchKernels(dtype, torch.device("cpu"))
