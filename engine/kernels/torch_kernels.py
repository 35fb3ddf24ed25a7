"""The kernels on torch alone: any device, any dtype, no compiler. Also what the native ones are tested against."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.batch import Batch
from engine.kernels import torch_quantized
from engine.kernels.base import Activation, CacheBlocks, Embedding, Gate, Heads, HeadSetup, Linear
from engine.kernels.torch_products import TorchEmbedding, TorchGate, TorchLinear
from engine.quantization.weight import QuantizedWeight, Weight


@dataclass(frozen=True, slots=True)
class TorchKernels:
    """Cache layout: keys and values (blocks, kv heads, block size, D)."""

    dtype: torch.dtype
    device: torch.device
    name: str = "torch"

    def linear(self, weight: Weight, bias: Tensor | None = None) -> Linear:
        if isinstance(weight, QuantizedWeight):
            return torch_quantized.linear(weight.to(self.device), self._bias(bias), self.dtype)
        return TorchLinear(self._own(weight), None if bias is None else self._own(bias))

    def gate(self, weight: Weight, activation: Activation) -> Gate:
        if isinstance(weight, QuantizedWeight):
            return torch_quantized.gate(weight.to(self.device), activation, self.dtype)
        return TorchGate(self._own(weight), activation)

    def embedding(self, weight: Weight, scale: float = 1.0) -> Embedding:
        if isinstance(weight, QuantizedWeight):
            weight = weight.dequantized(self.dtype)
        return TorchEmbedding(self._own(weight), scale)

    def tied_embedding(
        self, weight: Weight, scale: float = 1.0, bias: Tensor | None = None
    ) -> tuple[Embedding, Linear]:
        if isinstance(weight, QuantizedWeight):
            return torch_quantized.tied_embedding(weight.to(self.device), scale, self._bias(bias), self.dtype)
        held = self._own(weight)
        return TorchEmbedding(held, scale), TorchLinear(held, None if bias is None else self._own(bias))

    def add_rows(self, hidden: Tensor, table: Tensor, ids: Tensor) -> None:
        hidden += table[ids]

    def narrow(self, hidden: Tensor) -> Tensor:
        return hidden.to(self.dtype)

    def rms_norm(self, hidden: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        return F.rms_norm(hidden, weight.shape, weight, eps).to(dtype)

    def layer_norm(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, eps: float, dtype: torch.dtype) -> Tensor:
        return F.layer_norm(hidden, weight.shape, weight, bias, eps).to(dtype)

    def cache_bytes(self, block_size: int, heads: Heads) -> int:
        return 2 * heads.kv * block_size * heads.width * self.dtype.itemsize

    def make_cache(self, blocks: int, block_size: int, heads: Heads) -> CacheBlocks:
        shape = (blocks, heads.kv, block_size, heads.width)
        keys, values = (torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(2))
        return CacheBlocks(keys, values, block_size)

    def write_heads(self, qkv: Tensor, heads: Heads, setup: HeadSetup, cache: CacheBlocks, batch: Batch) -> None:
        split = qkv.view(len(qkv), heads.query + 2 * heads.kv, heads.width)  # (T, query + 2 kv, D)
        queries, keys, values = split.split([heads.query, heads.kv, heads.kv], dim=1)
        queries.copy_(turn(norm(queries.float(), setup.q_norm, setup.eps), setup, batch.positions))
        turned = turn(norm(keys.float(), setup.k_norm, setup.eps), setup, batch.positions)
        block, offset = batch.slots // cache.block_size, batch.slots % cache.block_size
        cache.keys[block, :, offset] = turned.to(self.dtype)
        cache.values[block, :, offset] = values

    def attention(self, qkv: Tensor, heads: Heads, cache: CacheBlocks, batch: Batch) -> Tensor:
        # One sequence at a time, each with exactly its own context: nothing is padded, and a neighbour changes nothing.
        queries = qkv.view(len(qkv), -1, heads.width)[:, : heads.query].transpose(0, 1)  # (query, T, D)
        out = torch.empty(len(qkv), heads.query, heads.width, dtype=qkv.dtype, device=qkv.device)
        starts, contexts = batch.query_start.tolist(), batch.context.tolist()
        for i, context in enumerate(contexts):
            blocks = batch.tables[i, : -(-context // cache.block_size)]
            keys, values = (
                part[blocks].transpose(0, 1).flatten(1, 2)[:, :context] for part in (cache.keys, cache.values)
            )  # (kv, context, D)
            mine = queries[:, starts[i] : starts[i + 1]]
            fresh = mine.shape[1]
            mask = None
            if 1 < fresh < context:
                mask = torch.ones(fresh, context, dtype=torch.bool, device=qkv.device).tril(context - fresh)
            seen = F.scaled_dot_product_attention(
                mine[None], keys[None], values[None], mask, is_causal=fresh == context and fresh > 1, enable_gqa=True
            )
            out[starts[i] : starts[i + 1]] = seen[0].transpose(0, 1)
        return out.flatten(1)

    def rotate(self, qkv: Tensor, heads: Heads, setup: HeadSetup, positions: Tensor) -> None:
        split = qkv.view(len(qkv), heads.query + 2 * heads.kv, heads.width)  # (T, query + 2 kv, D)
        queries, keys, _ = split.split([heads.query, heads.kv, heads.kv], dim=1)
        queries.copy_(turn(norm(queries.float(), setup.q_norm, setup.eps), setup, positions))
        keys.copy_(turn(norm(keys.float(), setup.k_norm, setup.eps), setup, positions))

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
        out = torch.empty(len(qkv), heads.query * heads.width, dtype=qkv.dtype, device=qkv.device)
        by_length: dict[int, list[int]] = {}  # texts of one length run together: nothing is padded
        for start, end in itertools.pairwise(starts.tolist()):
            by_length.setdefault(end - start, []).append(start)
        for length, firsts in by_length.items():
            rows = torch.tensor(firsts, device=qkv.device)[:, None] + torch.arange(length, device=qkv.device)  # (n, L)
            mine = qkv[rows].unflatten(-1, (-1, heads.width)).transpose(1, 2)  # (n, query + 2 kv, L, D)
            queries, keys, values = mine.split([heads.query, heads.kv, heads.kv], dim=1)
            mask = relative_mask(length, bias, window, qkv)
            seen = F.scaled_dot_product_attention(
                queries, keys, values, mask, scale=scale, enable_gqa=heads.kv != heads.query
            )
            out[rows] = seen.transpose(1, 2).flatten(2)
        return out

    def put_slots(self, cache: Tensor, slots: Tensor, rows: Tensor) -> None:
        cache.flatten(1).index_copy_(0, slots, rows)

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
        place = torch.arange(table.shape[1], device=q.device)
        seen = place < lengths[:, None]  # (R, longest)
        # What a row does not see may name any slot: it is read as slot 0 and has no weight.
        held = cache[torch.where(seen, table, 0).long()].unflatten(-1, (heads, -1))  # (R, longest, 2, H, D)
        keys, values = held.unbind(2)
        mask = torch.zeros_like(seen, dtype=torch.float32).masked_fill(~seen, -torch.inf)[:, None]  # (R, 1, longest)
        if bias is not None:
            before = (lengths[:, None] - 1 - place).clamp(min=0)
            mask = mask + bias[:, before].transpose(0, 1)  # (R, H, longest)
        out = F.scaled_dot_product_attention(
            q.unflatten(-1, (heads, 1, -1)),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            mask[:, :, None].to(q.dtype),
            scale=scale,
        )
        return out.flatten(1)

    def log_sums(self, logits: Tensor) -> Tensor:
        return logits.logsumexp(1)

    def best(self, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
        found = logits.topk(count)
        return found.values, found.indices

    def _bias(self, bias: Tensor | None) -> Tensor | None:
        """For sums in fp32."""
        return None if bias is None else bias.to(device=self.device, dtype=torch.float32).contiguous()

    def _own(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self.device, dtype=self.dtype).contiguous()


def relative_mask(length: int, bias: Tensor | None, window: int | None, like: Tensor) -> Tensor | None:
    """What is added to the scores of a text, (query heads or 1, L, L), -inf where keys are out of reach."""
    if bias is None and window is None:
        return None
    place = torch.arange(length, device=like.device)
    away = place[None, :] - place[:, None]  # key - query
    mask = torch.zeros(1, length, length, device=like.device)
    if bias is not None:
        mask = bias[:, away + bias.shape[1] // 2]
    if window is not None:
        mask = mask.masked_fill(away.abs() > window // 2, -torch.inf)
    return mask.to(like.dtype)


def norm(heads: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """RMS norm over the last dimension, where there is a weight."""
    return heads if weight is None else F.rms_norm(heads, weight.shape, weight, eps)


def turn(heads: Tensor, setup: HeadSetup, positions: Tensor) -> Tensor:
    """Rotary positions for heads (T, H, D) fp32."""
    if setup.cos is None or setup.sin is None:
        return heads
    half = setup.cos.shape[1]
    cos, sin = setup.cos[positions][:, None], setup.sin[positions][:, None]  # (T, 1, half)
    a, b, rest = heads.split([half, half, heads.shape[-1] - 2 * half], dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)
