"""Attention over gathered slots, log-sums and best logits: the definitions, both kernels, and every row by itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.kernels import Kernels, TorchKernels
from engine.kernels.native import NativeKernels
from engine.kernels.operators import load

CPU = torch.device("cpu")
NATIVE: list[Kernels] = [NativeKernels(dtype, amx=False) for dtype in (torch.float32, torch.bfloat16) if load()]
ALL: list[Kernels] = [*NATIVE, *(TorchKernels(dtype, CPU) for dtype in (torch.float32, torch.bfloat16))]
SLOTS = 90


def name(kernels: Kernels) -> str:
    return f"{kernels.name}-{str(kernels.dtype).removeprefix('torch.')}"


def by_definition(
    q: Tensor, cache: Tensor, table: Tensor, lengths: list[int], heads: int, scale: float, bias: Tensor | None
) -> Tensor:
    """softmax(scale q k + bias) v, one head of one row at a time, in fp64."""
    rows = []
    for r, length in enumerate(lengths):
        keys, values = cache[table[r, :length].long()].double().unflatten(-1, (heads, -1)).unbind(1)
        query = q[r].double().unflatten(-1, (heads, -1))
        parts = []
        for h in range(heads):
            scores = keys[:, h] @ query[h] * scale
            if bias is not None:
                scores = scores + bias[h, :length].flip(0)
            parts.append(scores.softmax(0) @ values[:, h])
        rows.append(torch.cat(parts))
    return torch.stack(rows)


@pytest.mark.parametrize("kernels", ALL, ids=name)
@pytest.mark.parametrize(("heads", "width"), [(3, 24), (8, 32), (2, 7), (1, 64), (5, 16)])
@pytest.mark.parametrize("biased", [False, True])
def test_is_the_definition(kernels: Kernels, heads: int, width: int, biased: bool) -> None:
    torch.manual_seed(0)
    lengths = [1, 40, 7, 16, 33]
    cache = torch.randn(SLOTS, 2, heads * width).to(kernels.dtype)
    cache[0] = torch.nan  # nobody's
    q = torch.randn(5, 3 * heads * width).to(kernels.dtype)[:, : heads * width]  # as it is cut from a projection
    table = torch.randint(1, SLOTS, (5, 44), dtype=torch.int32)
    bias = torch.randn(heads, 50) * 2 if biased else None
    if kernels.name == "torch":
        cache[0] = 0  # it multiplies what a row does not see by zero
    found = kernels.gathered_attention(q, cache, table, torch.tensor(lengths, dtype=torch.int32), heads, 0.3, bias)
    expected = by_definition(q, cache, table, lengths, heads, 0.3, bias)
    tolerance = 1e-5 if kernels.dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kernels", NATIVE, ids=name)
@settings(max_examples=20, deadline=None)
@given(
    neighbours=st.lists(st.integers(1, 60), max_size=9),
    place=st.integers(0, 9),
    wider=st.integers(0, 9),
    seed=st.integers(),
)
def test_a_row_does_not_see_the_others(
    kernels: Kernels, neighbours: list[int], place: int, wider: int, seed: int
) -> None:
    """Nor where its slots lie, nor how wide the table is."""
    generator = torch.Generator().manual_seed(seed % 2**60)
    at, mine = min(place, len(neighbours)), 21
    lengths = [*neighbours[:at], mine, *neighbours[at:]]
    contents = torch.randn(mine, 2, 48, generator=generator).to(kernels.dtype)
    q = torch.randn(1, 48, generator=generator).to(kernels.dtype)
    bias = torch.randn(3, 70, generator=generator)

    def run(slots: Tensor, row: int, all_lengths: list[int], width: int) -> Tensor:
        cache = torch.randn(SLOTS, 2, 48, generator=generator).to(kernels.dtype)
        cache[slots] = contents
        queries = torch.randn(len(all_lengths), 48, generator=generator).to(kernels.dtype)
        queries[row] = q
        table = torch.randint(0, SLOTS, (len(all_lengths), width), dtype=torch.int32, generator=generator)
        table[row, :mine] = slots.int()
        given_lengths = torch.tensor(all_lengths, dtype=torch.int32)
        return kernels.gathered_attention(queries, cache, table, given_lengths, 3, 0.3, bias)[row]

    alone = run(torch.arange(mine), 0, [mine], mine)
    scattered = torch.randperm(SLOTS, generator=generator)[:mine]
    assert torch.equal(run(scattered, at, lengths, max(lengths) + wider), alone)


@pytest.mark.parametrize("kernels", NATIVE, ids=name)
def test_wrong_tables_are_refused(kernels: Kernels) -> None:
    cache, q = torch.zeros(4, 2, 8, dtype=kernels.dtype), torch.zeros(1, 8, dtype=kernels.dtype)
    for slot, length, complaint in ((4, 1, "slot"), (-1, 1, "slot"), (0, 0, "length"), (0, 2, "length")):
        table, lengths = torch.tensor([[slot]], dtype=torch.int32), torch.tensor([length], dtype=torch.int32)
        with pytest.raises(RuntimeError, match=complaint):
            kernels.gathered_attention(q, cache, table, lengths, 2, 1.0)


@pytest.mark.parametrize("kernels", ALL, ids=name)
def test_slots_are_written_where_they_are_named(kernels: Kernels) -> None:
    cache, rows = torch.zeros(6, 2, 4, dtype=kernels.dtype), torch.randn(3, 12).to(kernels.dtype)
    expected = cache.clone()
    for slot, row in zip((4, 0, 5), rows, strict=True):
        expected[slot] = row[4:].view(2, 4)
    kernels.put_slots(cache, torch.tensor([4, 0, 5]), rows[:, 4:])
    assert torch.equal(cache, expected)
    with pytest.raises((RuntimeError, IndexError)):
        kernels.put_slots(cache, torch.tensor([0, 1, 6]), rows[:, 4:])


LOGITS = st.lists(
    st.lists(
        st.one_of(st.integers(-3, 3), st.floats(-80, 80, width=32), st.just(-float("inf"))), min_size=150, max_size=150
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("kernels", [NATIVE[0], ALL[-2]] if NATIVE else [ALL[-2]], ids=name)
@settings(max_examples=60, deadline=None)
@given(rows=LOGITS, count=st.integers(1, 20))
def test_best_and_log_sums(kernels: Kernels, rows: list[list[float]], count: int) -> None:
    logits = torch.tensor(rows, dtype=torch.float32)
    expected = logits.double().logsumexp(1)
    torch.testing.assert_close(kernels.log_sums(logits).double(), expected, atol=1e-5, rtol=1e-5)
    values, ids = kernels.best(logits, count)
    order = logits.sort(dim=1, descending=True, stable=True)
    assert torch.equal(values, order.values[:, :count])
    assert torch.equal(logits.gather(1, ids), values)
    assert all(len(set(row)) == count for row in ids.tolist())
    if kernels.name == "native":  # of equal ones the lower id first
        assert torch.equal(ids, order.indices[:, :count])
        for row in range(len(rows)):
            one = logits[row : row + 1].contiguous()
            assert torch.equal(kernels.log_sums(one), kernels.log_sums(logits)[row : row + 1])


@pytest.mark.skipif(not NATIVE, reason="no C++ compiler: the native kernels are not in use here")
def test_a_nan_is_never_the_best() -> None:
    logits = torch.tensor([[float("nan"), 1.0, float("nan"), 3.0, 2.0]])
    values, ids = NATIVE[0].best(logits, 3)
    assert (values.tolist(), ids.tolist()) == ([[3.0, 2.0, 1.0]], [[3, 4, 1]])
