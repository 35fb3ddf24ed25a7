"""Attention over packed texts: the definition, both kernels, and every text by itself."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.kernels import Heads, HeadSetup, Kernels, TorchKernels
from engine.kernels.native import NativeKernels
from engine.kernels.operators import load

CPU = torch.device("cpu")
NATIVE: list[Kernels] = [NativeKernels(dtype, amx=False) for dtype in (torch.float32, torch.bfloat16) if load()]
ALL: list[Kernels] = [*NATIVE, *(TorchKernels(dtype, CPU) for dtype in (torch.float32, torch.bfloat16))]
LENGTHS = [1, 5, 33, 140, 16, 5, 300]


def name(kernels: Kernels) -> str:
    return f"{kernels.name}-{str(kernels.dtype).removeprefix('torch.')}"


def random_qkv(heads: Heads, tokens: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, (heads.query + 2 * heads.kv) * heads.width, generator=generator).to(dtype)


def starts_of(lengths: list[int]) -> Tensor:
    return torch.tensor(list(itertools.accumulate(lengths, initial=0)), dtype=torch.int32)


def by_definition(
    qkv: Tensor, heads: Heads, lengths: list[int], scale: float, bias: Tensor | None, window: int | None
) -> Tensor:
    """softmax(scale q k + bias) v, one query head of one text at a time, in fp64."""
    rows = qkv.double().view(len(qkv), -1, heads.width)
    out = torch.empty(len(qkv), heads.query, heads.width, dtype=torch.float64)
    for start, end in itertools.pairwise(starts_of(lengths).tolist()):
        for h in range(heads.query):
            kv = heads.query + h // (heads.query // heads.kv)
            scores = rows[start:end, h] @ rows[start:end, kv].T * scale
            for query, key in itertools.product(range(end - start), repeat=2):
                if bias is not None:
                    scores[query, key] += bias[h, key - query + bias.shape[1] // 2]
                if window is not None and abs(key - query) > window // 2:
                    scores[query, key] = -torch.inf
            out[start:end, h] = scores.softmax(-1) @ rows[start:end, heads.kv + kv]
    return out.flatten(1)


@pytest.mark.parametrize("kernels", ALL, ids=name)
@pytest.mark.parametrize("heads", [Heads(3, 3, 24), Heads(4, 2, 16), Heads(2, 2, 40)], ids=str)
@pytest.mark.parametrize(("biased", "window"), [(False, None), (True, None), (False, 20), (True, 7)])
def test_is_the_definition(kernels: Kernels, heads: Heads, biased: bool, window: int | None) -> None:
    lengths = [1, 5, 33, 50, 16, 5]
    qkv = random_qkv(heads, sum(lengths), kernels.dtype)
    bias = torch.randn(heads.query, 2 * 64 - 1) * 3 if biased else None
    ours = kernels.packed_attention(qkv, heads, starts_of(lengths), scale=0.3, bias=bias, window=window)
    assert ours.dtype == kernels.dtype
    tolerance = 1e-5 if kernels.dtype == torch.float32 else 3e-2
    expected = by_definition(qkv, heads, lengths, 0.3, bias, window)
    torch.testing.assert_close(ours.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kernels", NATIVE, ids=name)
@pytest.mark.parametrize("window", [None, 16, 128])
def test_long_texts_are_cut_into_tasks_unseen(kernels: Kernels, window: int | None) -> None:
    heads = Heads(2, 2, 24)
    qkv = random_qkv(heads, sum(LENGTHS), kernels.dtype)
    starts = starts_of(LENGTHS)
    ours = kernels.packed_attention(qkv, heads, starts, scale=0.2, window=window)
    exact = TorchKernels(torch.float32, CPU).packed_attention(qkv.float(), heads, starts, scale=0.2, window=window)
    tolerance = 1e-5 if kernels.dtype == torch.float32 else 2e-2
    torch.testing.assert_close(ours.float(), exact, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kernels", NATIVE, ids=name)
@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 160), min_size=1, max_size=5),
    which=st.integers(0, 4),
    window=st.sampled_from([None, 6, 40]),
    biased=st.booleans(),
)
def test_a_text_does_not_see_its_neighbours(
    kernels: Kernels, lengths: list[int], which: int, window: int | None, biased: bool
) -> None:
    heads = Heads(2, 2, 20)
    which = min(which, len(lengths) - 1)
    bias = torch.randn(2, 2 * 160 - 1, generator=torch.Generator().manual_seed(1)) if biased else None
    parts = [random_qkv(heads, length, kernels.dtype, seed) for seed, length in enumerate(lengths)]
    for i, part in enumerate(parts):
        if i != which:
            part[0] = torch.inf  # nothing of a neighbour may leak, not even multiplied by zero
    starts = starts_of(lengths)
    together = kernels.packed_attention(torch.cat(parts), heads, starts, scale=0.2, bias=bias, window=window)
    alone = kernels.packed_attention(
        parts[which], heads, starts_of([lengths[which]]), scale=0.2, bias=bias, window=window
    )
    assert alone.isfinite().all()
    assert torch.equal(together[starts[which] : starts[which + 1]], alone)


@pytest.mark.skipif(not load(), reason="no C++ compiler: the native kernels are not in use here")
def test_a_text_longer_than_the_bias_is_refused() -> None:
    heads = Heads(2, 2, 16)
    with pytest.raises(RuntimeError, match="longer than the position bias"):
        NATIVE[0].packed_attention(
            random_qkv(heads, 9, torch.float32), heads, starts_of([9]), scale=1.0, bias=torch.zeros(2, 15)
        )


@pytest.mark.parametrize("kernels", NATIVE, ids=name)
@pytest.mark.parametrize("normed", [False, True])
def test_rotation(kernels: Kernels, normed: bool) -> None:
    heads = Heads(4, 2, 24)
    weight = torch.rand(24) if normed else None
    setup = HeadSetup(cos=torch.rand(64, 8), sin=torch.rand(64, 8), q_norm=weight, k_norm=weight)
    qkv = random_qkv(heads, 40, kernels.dtype)
    positions = torch.arange(40).flip(0)
    expected = qkv.float()
    TorchKernels(torch.float32, CPU).rotate(expected, heads, setup, positions)
    values = qkv[:, 6 * 24 :].clone()
    kernels.rotate(qkv, heads, setup, positions)
    assert torch.equal(qkv[:, 6 * 24 :], values)
    tolerance = 1e-6 if kernels.dtype == torch.float32 else 2e-2
    torch.testing.assert_close(qkv.float(), expected, atol=tolerance, rtol=tolerance)
