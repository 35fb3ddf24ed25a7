"""Rows of unequal length as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """(rows, longest), filled up with `value` behind each row's end."""
    out = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.long)
    for number, row in enumerate(rows):
        out[number, : len(row)] = torch.tensor(row, dtype=torch.long)
    return out
