"""What the models are made of. `torch_kernels` runs anywhere, `native` runs the C++ in `csrc/` on the CPU.

T tokens of a batch, D values a head. The residual stream ("hidden") is fp32 in every precision; what goes into a
matrix product is in the variant's dtype.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from engine.batch import Batch
from engine.quantization.weight import Weight

Activation = Literal["none", "gelu", "gelu_tanh", "relu", "silu"]


@dataclass(frozen=True, slots=True)
class Heads:
    """Shape of attention: query heads, key-value heads (they divide the former), values a head."""

    query: int
    kv: int
    width: int


@dataclass(frozen=True, slots=True)
class CacheBlocks:
    """One layer's keys and values, in a layout that only the kernels that made it know."""

    keys: Tensor
    values: Tensor
    block_size: int


@dataclass(frozen=True, slots=True)
class HeadSetup:
    """What happens to queries and keys before attention. Absent parts are None.

    `cos`, `sin` (positions, rotary / 2) fp32: the first `rotary` values of a head turn, value i with i + rotary / 2.
    `q_norm`, `k_norm` (D,) fp32: RMS norms over a head, before turning.
    """

    cos: Tensor | None = None
    sin: Tensor | None = None
    q_norm: Tensor | None = None
    k_norm: Tensor | None = None
    eps: float = 1e-6


class Linear(Protocol):
    """x W^T + b with the weight in whatever form is fastest."""

    def __call__(self, x: Tensor, activation: Activation = "none") -> Tensor:
        """(T, K) -> (T, N) in x's dtype."""

    def add_to(self, hidden: Tensor, x: Tensor) -> None:
        """hidden (T, N) fp32 += the product, in place."""

    def logits(self, x: Tensor) -> Tensor:
        """(R, K) -> (R, N) fp32."""


class Gate(Protocol):
    """activation(x Wg^T) * (x Wu^T): (T, K) -> (T, N)."""

    def __call__(self, x: Tensor) -> Tensor: ...


class Embedding(Protocol):
    """Token ids (T,) -> (T, hidden) fp32."""

    def __call__(self, ids: Tensor) -> Tensor: ...


class Kernels(Protocol):
    """The operations of one device and dtype. Weights of products may be quantized (engine/quantization/weight.py).

    On the native kernels a call is one operator, the same for any number of rows, and computes nothing in Python but
    with torch: runs of them are played again without Python (see `replay.py`).
    """

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def linear(self, weight: Weight, bias: Tensor | None = None) -> Linear:
        """weight (N, K), bias (N,)."""

    def gate(self, weight: Weight, activation: Activation) -> Gate:
        """weight (2 N, K): the gate's rows, then the up-projection's."""

    def embedding(self, weight: Weight, scale: float = 1.0) -> Embedding:
        """weight (vocabulary, hidden)."""

    def tied_embedding(
        self, weight: Weight, scale: float = 1.0, bias: Tensor | None = None
    ) -> tuple[Embedding, Linear]:
        """One weight (vocabulary, hidden), held once, as embedding and as output head with the bias (vocabulary,)."""

    def add_rows(self, hidden: Tensor, table: Tensor, ids: Tensor) -> None:
        """hidden (T, K) fp32 += table[ids], in place: table (V, K) fp32, ids (T,) int64."""

    def narrow(self, hidden: Tensor) -> Tensor:
        """hidden (T, K) fp32 in the kernels' dtype; itself where that is fp32."""

    def rms_norm(self, hidden: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        """hidden (T, K) fp32, weight (K,) fp32 -> (T, K) in `dtype`, the kernels' or fp32."""

    def layer_norm(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, eps: float, dtype: torch.dtype) -> Tensor:
        """The same with mean and bias (K,) fp32."""

    def cache_bytes(self, block_size: int, heads: Heads) -> int:
        """Size of one layer's block."""

    def make_cache(self, blocks: int, block_size: int, heads: Heads) -> CacheBlocks:
        """Room for `blocks` blocks of one layer."""

    def write_heads(self, qkv: Tensor, heads: Heads, setup: HeadSetup, cache: CacheBlocks, batch: Batch) -> None:
        """qkv (T, (query + 2 kv) D): norms and turns queries in place, puts keys and values into the cache."""

    def attention(self, qkv: Tensor, heads: Heads, cache: CacheBlocks, batch: Batch) -> Tensor:
        """Causal attention of the queries in qkv over the cache: (T, query * D)."""

    def rotate(self, qkv: Tensor, heads: Heads, setup: HeadSetup, positions: Tensor) -> None:
        """qkv (T, (query + 2 kv) D), positions (T,) int64: norms and turns queries and keys in place."""

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
        """Attention within each of B texts, in both directions: qkv (T, (query + 2 kv) D) -> (T, query * D).

        starts (B + 1,) int32 says where each text begins, and the end of the last. Scores are multiplied by `scale`,
        then bias[h, key - query + L - 1] of `bias` (query heads, 2 L - 1) fp32 is added, L at least the longest text.
        With a `window`, tokens attend to keys up to window // 2 tokens away.
        """

    def put_slots(self, cache: Tensor, slots: Tensor, rows: Tensor) -> None:
        """Writes rows (R, 2 H * D), keys then values, into slots (R,) int64 of a cache (slots, 2, H * D)."""

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
        """Attention of R single queries q (R, H * D) over the slots that each names in its row of a table: (R, H * D).

        cache (slots, 2, H * D) holds keys and values; row r sees the first lengths[r] slots of its row. table (R,
        longest) and lengths (R,) int32, at least 1. Scores are multiplied by `scale`, then bias[h, d] of `bias` (H, n)
        fp32 is added for the key that stands d places before the row's last, n at least the longest length.
        """

    def log_sums(self, logits: Tensor) -> Tensor:
        """logits (R, V) fp32 -> (R,), the logarithms of the rows' sums of exponentials."""

    def best(self, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """logits (R, V) fp32 -> the `count` highest of each row, highest first: values (R, count), ids int64."""
