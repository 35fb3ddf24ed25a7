from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from engine.request import SamplingParams
from engine.sampling.draw import argmax, draw_truncated, draw_weighed, largest, padded_rows, weigh
from tests.engine.sampling.reference import make_logits


def transformers_probabilities(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    scores = TemperatureLogitsWarper(params.temperature)(torch.empty(1, 0), logits)
    if params.top_k:
        scores = TopKLogitsWarper(params.top_k)(torch.empty(1, 0), scores)
    if params.top_p < 1:
        scores = TopPLogitsWarper(params.top_p)(torch.empty(1, 0), scores)
    if params.min_p:
        scores = MinPLogitsWarper(params.min_p)(torch.empty(1, 0), scores)
    probabilities: torch.Tensor = scores.double().softmax(dim=1)[0]
    return probabilities


@pytest.mark.parametrize("top_k", [0, 1, 40, 900])
@pytest.mark.parametrize("top_p", [1.0, 0.2, 0.95, 0.9999])
@pytest.mark.parametrize("min_p", [0.0, 0.01, 0.4])
@pytest.mark.parametrize("temperature", [0.7, 3.0])
def test_truncation_is_that_of_transformers(top_k: int, top_p: float, min_p: float, temperature: float) -> None:
    params = SamplingParams(max_tokens=1, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    if not (top_k or top_p < 1 or min_p):
        return
    logits = make_logits(1, 5000, seed=top_k, spread=2.0)
    probabilities = transformers_probabilities(logits, params)
    order = torch.argsort(logits[0], descending=True, stable=True)
    running = probabilities[order].cumsum(dim=0)
    rows = padded_rows(logits, [0])
    total = next(iter(weigh(rows, [0], [temperature]))).total
    for u in np.linspace(0.0003, 0.9997, 41).tolist():
        place = int(torch.searchsorted(running, u, right=True))
        if abs(float(running[place]) - u) < 1e-5 or (place and abs(float(running[place - 1]) - u) < 1e-5):
            continue  # rounding may decide either way
        assert draw_truncated(rows[0].numpy(), params, u, total) == int(order[place])


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 999), st.sampled_from([0.0, 1.0]), st.floats(0, 1))
def test_largest_is_a_stable_sort_cut_short(size: int, count: int, seed: int, step: float, masked: float) -> None:
    logits = make_logits(1, size, seed=seed, step=step)
    logits[torch.rand(1, size, generator=torch.Generator().manual_seed(seed)) < masked] = -torch.inf
    expected = torch.argsort(logits[0], descending=True, stable=True)[: min(count, int(logits.isfinite().sum()))]
    assert largest(padded_rows(logits, [0])[0].numpy(), count).tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weighing_equals_softmax_and_leaves_the_rows(dtype: torch.dtype) -> None:
    logits = make_logits(19, 1000, seed=1).to(dtype)
    rows = padded_rows(logits, range(19))
    before = rows.clone()
    temperatures = [0.5 + i / 10 for i in range(0, 19, 2)]
    for i, weighed in enumerate(weigh(rows, range(0, 19, 2), temperatures)):
        assert weighed.index == 2 * i
        expected = (logits[2 * i].double() / temperatures[i]).softmax(dim=0)
        np.testing.assert_allclose(weighed.weights[:1000] / weighed.total, expected.numpy(), rtol=2e-5, atol=1e-9)
        assert not weighed.weights[1000:].any()
    assert torch.equal(rows, before)


def test_argmax_of_sixteen_bit_floats_equals_argmax_in_float32() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        for scale in (1e-6, 1.0, 1e3):
            logits = (make_logits(30, 200, seed=2, spread=scale) - scale).to(dtype)
            logits[::3] = -logits[::3].abs()
            assert argmax(logits) == [int(row.argmax()) for row in logits.float().numpy()]


def test_the_ends_of_the_unit_interval_draw_possible_tokens() -> None:
    logits = torch.full((1, 1000), -torch.inf)
    logits[0, [300, 301, 700]] = 0.0
    rows = padded_rows(logits, [0])
    weighed = next(iter(weigh(rows, [0], [1.0])))
    drawn = [draw_weighed(weighed, u) for u in (0.0, 1 / 3, 0.34, 0.67, 1 - 2.0**-53)]
    assert drawn == [300, 301, 301, 700, 700]
    params = SamplingParams(max_tokens=1, top_k=5)
    assert [draw_truncated(rows[0].numpy(), params, u, None) for u in (0.0, 0.34, 1 - 2.0**-53)] == [300, 301, 700]
