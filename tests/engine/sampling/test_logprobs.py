from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.request import SamplingParams, TokenLogprobs
from engine.sampling import Row, prompt_logprobs, sample
from tests.engine.sampling.reference import make_logits


def expected(logits: torch.Tensor, token: int, top: int) -> TokenLogprobs:
    values = logits.double().log_softmax(dim=0)
    order = torch.argsort(logits, descending=True, stable=True).tolist()
    best = tuple((other, float(values[other])) for other in order[:top] if values[other] > -math.inf)
    return TokenLogprobs(token, float(values[token]), order.index(token) + 1, best)


def assert_close(found: TokenLogprobs | None, wanted: TokenLogprobs) -> None:
    assert found is not None
    assert (found.token, found.rank) == (wanted.token, wanted.rank)
    assert found.logprob == pytest.approx(wanted.logprob, abs=1e-5)
    assert [token for token, _ in found.top] == [token for token, _ in wanted.top]
    assert [value for _, value in found.top] == pytest.approx([value for _, value in wanted.top], abs=1e-5)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 999), st.integers(5, 700), st.integers(0, 20), st.sampled_from([0.0, 0.5]))
def test_prompt_logprobs_equal_log_softmax(seed: int, vocabulary: int, top: int, step: float) -> None:
    logits = make_logits(40, vocabulary, seed=seed, step=step)
    tokens = torch.randint(vocabulary, (40,), generator=torch.Generator().manual_seed(seed))
    found = prompt_logprobs(logits, tokens, top)
    assert len(found) == 40
    for i, token in enumerate(tokens.tolist()):
        assert_close(found[i], expected(logits[i], token, top))


def test_a_prompts_logprobs_do_not_depend_on_how_it_was_cut() -> None:
    logits, tokens = make_logits(37, 1000, seed=3).bfloat16(), torch.arange(37)
    whole = prompt_logprobs(logits, tokens, 4)
    parts = [prompt_logprobs(logits[a:b], tokens[a:b], 4) for a, b in ((0, 1), (1, 20), (20, 37))]
    assert whole == [one for part in parts for one in part]
    assert prompt_logprobs(logits[:0], tokens[:0], 4) == []


def test_logprobs_are_taken_after_penalties_and_before_temperature_and_truncation() -> None:
    logits = make_logits(2, 600, seed=4)
    options: dict[str, Any] = {
        "temperature": 0.2,
        "top_k": 3,
        "top_p": 0.8,
        "min_p": 0.1,
        "logprobs": 8,
        "logit_bias": {5: 3.0},
    }
    rows = [
        Row(SamplingParams(max_tokens=5, presence_penalty=1.5, **options), (1,), [9, 9]),
        Row(SamplingParams(max_tokens=5, temperature=0, logprobs=0), (1,), []),
    ]
    penalized = logits.clone()
    penalized[0, 5] += 3
    penalized[0, 9] -= 1.5
    for i, result in enumerate(sample(logits, rows)):
        assert_close(result.logprobs, expected(penalized[i], result.token, rows[i].params.logprobs or 0))
    assert sample(logits, rows)[1].logprobs == sample(logits[1:], rows[1:])[0].logprobs


def test_impossible_tokens_are_no_alternatives() -> None:
    logits = torch.full((1, 50), -torch.inf)
    logits[0, 10], logits[0, 20] = 1.0, 2.0
    (result,) = sample(logits, [Row(SamplingParams(max_tokens=5, temperature=0, logprobs=5), (1,), [])])
    assert result.logprobs is not None
    assert [token for token, _ in result.logprobs.top] == [20, 10]


def test_nothing_is_reported_unasked() -> None:
    logits = make_logits(2, 50, seed=5)
    rows = [Row(SamplingParams(max_tokens=5), (1,), []), Row(SamplingParams(max_tokens=5, logprobs=1), (1,), [])]
    plain, asked = sample(logits, rows)
    assert plain.logprobs is None
    assert asked.logprobs is not None
