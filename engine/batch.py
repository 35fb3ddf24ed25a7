"""The tensors of one step: new tokens of several sequences, flattened one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """T new tokens of B sequences. Integer tensors; nothing is padded but the block tables.

    A slot is where a token's key and value go in the paged cache: block index * block size + offset.
    """

    tokens: Tensor  # (T,) int64
    positions: Tensor  # (T,) int64
    slots: Tensor  # (T,) int64
    query_start: Tensor  # (B + 1,) int32, where each sequence's tokens begin
    context: Tensor  # (B,) int32, tokens in the cache, the new ones included
    tables: Tensor  # (B, blocks) int32, each sequence's blocks in order, padded with 0


@dataclass(frozen=True, slots=True)
class Span:
    """`tokens` of one sequence, of which the first stands at `start`, and the blocks that hold it up to their end."""

    tokens: Sequence[int]
    start: int
    blocks: Sequence[int]


def build_batch(spans: Sequence[Span], block_size: int, device: torch.device | str = "cpu") -> Batch:
    """Lays the spans out as tensors on `device`."""
    tokens: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    query_start, context = [0], []
    widest = max(len(span.blocks) for span in spans)
    tables = []
    for span in spans:
        end = span.start + len(span.tokens)
        tokens += span.tokens
        positions += range(span.start, end)
        slots += [span.blocks[p // block_size] * block_size + p % block_size for p in range(span.start, end)]
        query_start.append(len(tokens))
        context.append(end)
        tables.append([*span.blocks, *([0] * (widest - len(span.blocks)))])

    def ints(values: object, dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    return Batch(
        tokens=ints(tokens, torch.int64),
        positions=ints(positions, torch.int64),
        slots=ints(slots, torch.int64),
        query_start=ints(query_start, torch.int32),
        context=ints(context, torch.int32),
        tables=ints(tables, torch.int32),
    )
