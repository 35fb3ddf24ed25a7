from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.request import SamplingParams
from engine.sampling import Row, Sampled, sample
from engine.sampling.uniform import uniform
from tests.engine.sampling.reference import (
    adjusted,
    candidates,
    distribution,
    fresh,
    make_logits,
    sampling_params,
    sequence_rows,
)

VOCABULARY = 300  # not a multiple of the block size


def row(generated: int = 0, **options: Any) -> Row:
    return Row(SamplingParams(max_tokens=9, **options), (5, 6, 7), list(range(generated)), eos_token_ids=(2,))


@settings(deadline=None, max_examples=300)
@given(sequence_rows(VOCABULARY), st.integers(0, 2**32), st.sampled_from([0.0, 0.5]), st.floats(0.1, 12))
def test_draws_what_the_naive_reference_draws(one: Row, seed: int, step: float, spread: float) -> None:
    logits = make_logits(1, VOCABULARY, seed=seed, spread=spread, step=step)
    values = adjusted(logits[0].tolist(), one)
    greedy = one.params if one.params.top_k != 1 else replace(one.params, temperature=0.0)
    u = uniform(one.params.seed, len(one.prompt) + len(one.generated))
    expected = candidates(values, greedy, u)
    # float32 may break ties that the reference, in float64, leaves; that is a property of the reference.
    ordered = sorted(values, reverse=True)
    assume(all(a == b or a - b > 1e-5 for a, b in pairwise(ordered)))
    assert sample(logits, [one])[0].token in expected


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_neighbours_never_matter(data: st.DataObject) -> None:
    vocabulary = data.draw(st.sampled_from([64, 300, 1024, 2051]))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    rows = data.draw(st.lists(sequence_rows(vocabulary), min_size=1, max_size=20))
    logits = make_logits(len(rows), vocabulary, seed=data.draw(st.integers(0, 99))).to(dtype)
    together = sample(logits, rows)
    alone = [sample(logits[i : i + 1], [fresh(one)])[0] for i, one in enumerate(rows)]
    assert together == alone
    some = data.draw(st.permutations(range(len(rows))))[: (len(rows) + 1) // 2]
    assert sample(logits[some], [fresh(rows[i]) for i in some]) == [together[i] for i in some]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("vocabulary", [49152, 50257])
def test_neighbours_never_matter_in_a_large_vocabulary(vocabulary: int, threads: int) -> None:
    torch.set_num_threads(threads)  # large tensors are split among threads, at other places in another batch
    logits = make_logits(11, vocabulary, seed=4)
    options: list[dict[str, Any]] = [
        {},
        {"top_p": 0.9},
        {"top_k": 40},
        {"min_p": 0.02},
        {"temperature": 0.0, "logprobs": 3},
        {"logprobs": 2},
    ]
    rows = [row(seed=i, **options[i % len(options)]) for i in range(11)]
    together = sample(logits, rows)
    assert [sample(logits[i : i + 1], [fresh(one)])[0] for i, one in enumerate(rows)] == together
    assert sample(logits[3:8], rows[3:8]) == together[3:8]


@settings(deadline=None, max_examples=50)
@given(sampling_params(VOCABULARY), st.integers(0, 2**32), st.integers(0, 19))
def test_a_resumed_row_goes_on_as_the_uninterrupted_one(params: SamplingParams, seed: int, cut: int) -> None:
    logits = make_logits(20, VOCABULARY, seed=seed)
    whole = Row(params, (1, 2, 3), [], eos_token_ids=(2,))
    results: list[Sampled] = []
    for i in range(20):
        results += sample(logits[i : i + 1], [whole])
        whole.generated.append(results[-1].token)
    resumed = Row(params, (1, 2, 3), whole.generated[:cut], eos_token_ids=(2,))
    for i in range(cut, 20):
        assert sample(logits[i : i + 1], [resumed]) == [results[i]]
        resumed.generated.append(results[i].token)


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.5}, {"top_k": 7}, {"top_p": 0.8}, {"min_p": 0.1}, {"top_k": 9, "top_p": 0.9, "min_p": 0.05}],
)
def test_frequencies_follow_the_distribution(options: dict[str, Any]) -> None:
    logits = make_logits(1, 40, seed=3, spread=1.5)
    params = SamplingParams(max_tokens=1, seed=11, **options)
    draws = 8000
    rows = [Row(params, range(i), []) for i in range(draws)]
    counts = Counter(result.token for result in sample(logits.expand(draws, -1), rows))
    expected = dict(distribution(logits[0].tolist(), params))
    assert counts.keys() <= expected.keys()
    for token, probability in expected.items():
        deviation = math.sqrt(draws * probability * (1 - probability))
        assert abs(counts[token] - draws * probability) < 4.5 * deviation + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shift", [0.0, -50.0])
def test_greedy_takes_the_lowest_id_on_ties(dtype: torch.dtype, shift: float) -> None:
    logits = make_logits(50, VOCABULARY, seed=1, spread=2.0, step=1.0).to(dtype) + shift
    expected = [int((one == one.max()).nonzero()[0]) for one in logits]
    assert len(set(expected)) > 5
    assert [result.token for result in sample(logits, [row(temperature=0) for _ in expected])] == expected
    assert [result.token for result in sample(logits, [row(top_k=1) for _ in expected])] == expected
    assert [result.token for result in sample(logits, [row(temperature=0, logprobs=0) for _ in expected])] == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_greedy_with_zeros_of_both_signs_and_no_positive_logit(dtype: torch.dtype) -> None:
    logits = torch.full((1, 40), -1.0, dtype=dtype)
    logits[0, 7], logits[0, 9] = -0.0, 0.0
    assert sample(logits, [row(temperature=0)])[0].token == 7


def test_logits_are_left_as_they_were() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        logits = make_logits(3, 512, seed=0).to(dtype)
        before = logits.clone()
        rows = [row(generated=3, repetition_penalty=2.0, logit_bias={1: 5.0}), row(top_p=0.5), row(temperature=0)]
        sample(logits, rows)
        assert torch.equal(logits, before)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("whole", [True, False])
def test_a_broken_row_does_not_reach_its_neighbours(poison: float, whole: bool) -> None:
    kinds: list[dict[str, Any]] = [{}, {"top_k": 5}, {"top_p": 0.5}, {"min_p": 0.1}, {"temperature": 0.0}]
    logits = make_logits(2 * len(kinds), VOCABULARY, seed=8)
    rows = [row(logprobs=2, **kind) for kind in kinds for _ in range(2)]
    healthy = sample(logits, rows)[1::2]
    if whole:
        logits[::2] = poison
    else:
        logits[::2, 17] = poison
    results = sample(logits, rows)
    assert results[1::2] == healthy
    assert all(0 <= result.token < VOCABULARY for result in results)


def test_extreme_temperatures() -> None:
    logits = make_logits(1, VOCABULARY, seed=2)
    best = int(logits.argmax())
    for temperature in (1e-45, 1e-30, 1e-6):
        options: dict[str, Any]
        for options in ({}, {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}):
            assert sample(logits, [row(temperature=temperature, **options)])[0].token == best
    hot = [sample(logits, [row(temperature=1e30, seed=seed)])[0].token for seed in range(200)]
    assert len(set(hot)) > 100  # as good as uniform


def test_flat_logits_take_the_exact_way_out() -> None:
    logits = torch.zeros(1, 5000)
    for seed in range(20):
        u = uniform(seed, 3)
        assert sample(logits, [row(seed=seed, top_p=0.9)])[0].token == pytest.approx(u * 4500, abs=1)
        assert sample(logits, [row(seed=seed, top_k=700)])[0].token == pytest.approx(u * 700, abs=1)


def test_no_rows() -> None:
    assert sample(torch.empty(0, 10), []) == []
