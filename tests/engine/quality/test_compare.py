"""The sums against plain formulas in fp64, and what must hold of any two sets of logits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.quality.compare import Totals, compare, comparison, measure_perplexity, totals
from engine.quality.probes import Scored
from engine.quality.samples import Sample


def pair(seed: int, rows: int, width: int, noise: float) -> tuple[Scored, Scored, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, width, generator=generator) * 4
    targets = torch.randint(width, (rows,), generator=generator)
    other = logits + noise * torch.randn(rows, width, generator=generator)
    return Scored(logits, targets), Scored(other, targets), targets


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(2, 300), st.floats(0, 3))
def test_totals_are_the_formulas(seed: int, rows: int, width: int, noise: float) -> None:
    reference, variant, targets = pair(seed, rows, width, noise)
    p, q = (scored.logits.double().softmax(1) for scored in (reference, variant))
    found = totals(reference, variant)
    assert found.kl == pytest.approx(float((p * (p.log() - q.log())).sum()), abs=1e-5 * rows)
    assert found.agreed == int((p.argmax(1) == q.argmax(1)).sum())
    assert found.variant_loss == pytest.approx(-float(q[range(rows), targets].log().sum()), rel=1e-5, abs=1e-6 * rows)
    assert found.reference_loss == pytest.approx(-float(p[range(rows), targets].log().sum()), rel=1e-5, abs=1e-6 * rows)
    assert (found.rows, found.targets) == (rows, rows)


def test_the_same_logits_lose_nothing() -> None:
    reference, _, _ = pair(1, 20, 50, 0.0)
    found = comparison(totals(reference, reference))
    assert (found.kl, found.agreement) == (0.0, 1.0)
    assert found.cosine == pytest.approx(1)
    assert found.variant_perplexity == found.reference_perplexity


def test_pieces_add_up_to_the_whole() -> None:
    reference, variant, targets = pair(2, 30, 40, 1.0)
    whole = totals(reference, variant)
    cuts = [slice(0, 7), slice(7, 8), slice(8, 30)]
    parts = [
        totals(Scored(reference.logits[cut], targets[cut]), Scored(variant.logits[cut], targets[cut])) for cut in cuts
    ]
    added = sum(parts, Totals())
    assert added.rows == whole.rows
    assert added.agreed == whole.agreed
    assert added.kl == pytest.approx(whole.kl)
    assert added.variant_loss == pytest.approx(whole.variant_loss)


def test_without_targets_there_is_no_perplexity() -> None:
    reference, variant, _ = pair(3, 5, 4, 1.0)
    found = comparison(totals(Scored(reference.logits), Scored(variant.logits)))
    assert found.variant_perplexity is None
    assert found.kl > 0


def test_cosine_is_between_rows() -> None:
    one = Scored(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    other = Scored(torch.tensor([[2.0, 0.0], [3.0, 0.0]]))
    assert comparison(totals(one, other)).cosine == pytest.approx(0.5)


class Fixed:
    """Gives each sample as many rows as it has tokens, two at a time, all of the same logits."""

    def __init__(self, logits: list[float]) -> None:
        self.logits = logits

    def score(self, samples: Sequence[Sample]) -> Iterator[Scored]:
        for sample in samples:
            for at in range(0, len(sample.tokens), 2):
                targets = torch.tensor(sample.tokens[at : at + 2])
                yield Scored(torch.tensor([self.logits] * len(targets)), targets)


def test_two_probes_are_compared_on_all_samples() -> None:
    samples = [Sample((0, 1, 0))] * 40
    told: list[int] = []
    even, odd = Fixed([0.0, 0.0]), Fixed([math.log(3), 0.0])
    found = compare(even, odd, samples, lambda done, total: told.append(done))
    assert found.rows == 120
    assert told[-1] == 40
    assert found.reference_perplexity == pytest.approx(2)
    assert found.variant_perplexity == pytest.approx(math.exp((2 * math.log(4 / 3) + math.log(4)) / 3))
    assert found.kl == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    alone, count = measure_perplexity(odd, samples, lambda done, total: None)
    assert alone == pytest.approx(found.variant_perplexity)
    assert count == 120


def test_hopeless_predictions_are_infinitely_perplexing() -> None:
    lost = Fixed([0.0, 2000.0])
    assert measure_perplexity(lost, [Sample((0, 0))], lambda done, total: None)[0] == math.inf
