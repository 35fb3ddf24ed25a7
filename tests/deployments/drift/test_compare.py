"""How much answers agree."""

from __future__ import annotations

import numpy as np
import pytest

from deployments.drift import compare
from deployments.drift.compare import Comparison
from engine.request import TokenLogprobs
from engine.seq2seq.request import Hypothesis


def told(token: int, logprob: float, rank: int = 1, likeliest: int = 0) -> TokenLogprobs:
    top = ((token if rank == 1 else likeliest, logprob if rank == 1 else -0.1),)
    return TokenLogprobs(token, logprob, rank, top)


def test_tokens_agree_where_both_hold_the_same_for_the_likeliest() -> None:
    said = [told(5, -0.5), told(6, -2.0, rank=3, likeliest=9), told(7, -0.25)]
    theirs = [told(5, -0.75), told(6, -1.0, rank=2, likeliest=9), told(7, -3.25, rank=4, likeliest=8)]
    assert compare.tokens(said, theirs) == Comparison(3, 2.0, 4.25)


def test_a_token_that_nothing_predicts_is_left_out() -> None:
    assert compare.tokens([told(5, -0.5)], [None]) == Comparison()


def test_labels() -> None:
    same = compare.probabilities(np.array([0.7, 0.2, 0.1]), np.array([0.5, 0.3, 0.2]))
    assert (same.compared, same.agreed) == (1, 1.0)
    assert same.gap == pytest.approx(0.2)
    assert compare.probabilities(np.array([0.7, 0.3]), np.array([0.3, 0.7])).agreed == 0.0


def test_vectors() -> None:
    assert compare.vectors(np.array([1.0, 0.0]), np.array([2.0, 0.0])) == Comparison(1, 1.0, 0.0)
    assert compare.vectors(np.array([1.0, 0.0]), np.array([0.0, 2.0])) == Comparison(1, 0.0, 1.0)
    assert compare.vectors(np.array([0.0, 0.0]), np.array([0.0, 2.0])) == Comparison(1, 0.0, 1.0)


def test_sentences() -> None:
    assert compare.sentence(Hypothesis((1, 2, 3, 4), -1.0), Hypothesis((1, 2, 3, 4), -1.5)) == Comparison(1, 1.0, 0.5)
    assert compare.sentence(Hypothesis((1, 2, 3, 4), -1.0), Hypothesis((1, 9, 3, 4), -1.0)).agreed == 0.75
    assert compare.sentence(Hypothesis((), -1.0), Hypothesis((5,), -1.0)).agreed == 0.0
