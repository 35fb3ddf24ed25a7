from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from transformers import RepetitionPenaltyLogitsProcessor

from engine.request import SamplingParams
from engine.sampling import Row, sample
from engine.sampling.adjust import adjust
from engine.sampling.row import TokenCounts
from tests.engine.sampling.reference import adjusted, make_logits, sequence_rows

VOCABULARY = 120


def adjust_copy(logits: torch.Tensor, row: Row) -> np.ndarray:
    values = logits[0].numpy().copy()
    adjust(values, row)
    return values


@settings(deadline=None, max_examples=200)
@given(sequence_rows(VOCABULARY))
def test_equals_the_naive_reference(row: Row) -> None:
    logits = make_logits(1, VOCABULARY, seed=5)
    expected = adjusted(logits[0].tolist(), row)
    np.testing.assert_allclose(adjust_copy(logits, row), np.array(expected), rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(sequence_rows(VOCABULARY))
def test_a_row_that_is_not_adjusted_would_not_have_changed(row: Row) -> None:
    logits = make_logits(1, VOCABULARY, seed=6)
    if not row.adjusted:
        assert np.array_equal(adjust_copy(logits, row), logits[0].numpy())


@pytest.mark.parametrize("penalty", [1.3, 0.6])
def test_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    prompt, generated = [3, 4, 4, 90], [7, 90, 7]
    logits = make_logits(1, VOCABULARY, seed=7)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([prompt + generated]), logits.clone())
    found = adjust_copy(logits, Row(SamplingParams(max_tokens=1, repetition_penalty=penalty), prompt, generated))
    np.testing.assert_array_equal(found, expected[0].numpy())


def test_counts_stay_in_step_with_a_growing_list() -> None:
    generator = np.random.default_rng(0)
    prompt = generator.integers(0, 50, 30).tolist()
    generated: list[int] = []
    seen = TokenCounts(prompt)
    for _ in range(100):
        generated += generator.integers(0, 400, generator.integers(0, 4)).tolist()
        seen.update(generated)
        counts = dict(zip(seen.tokens.tolist(), seen.counts.tolist(), strict=True))
        assert counts == {token: generated.count(token) for token in {*prompt, *generated}}


def test_min_tokens_holds_back_eos_and_stop_tokens_until_then() -> None:
    logits = torch.zeros(1, 10)
    logits[0, 2], logits[0, 8] = 9, 8
    row = Row(
        SamplingParams(max_tokens=9, temperature=0, stop_token_ids=(8,), min_tokens=2), (1,), [], eos_token_ids=(2,)
    )
    tokens = []
    for _ in range(3):
        tokens.append(sample(logits, [row])[0].token)
        row.generated.append(tokens[-1])
    assert tokens == [0, 0, 2]


def test_ids_outside_the_vocabulary_change_no_other_row() -> None:
    outside = SamplingParams(
        max_tokens=9,
        temperature=0,
        logit_bias={10: 99.0, -1: 99.0, 10**6: 99.0},
        stop_token_ids=(11, -3),
        min_tokens=3,
        repetition_penalty=2.0,
        presence_penalty=1.0,
    )
    logits = make_logits(2, 10, seed=9)
    best = logits.argmax(dim=1).tolist()
    rows = [Row(outside, (12, 500), [40]), Row(SamplingParams(max_tokens=9, temperature=0), (1,), [])]
    assert [result.token for result in sample(logits, rows)] == best
