"""A variant's logits against its reference's, added up piece by piece: pure functions of tensors.

Sums are of fp64, so that their order does not show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from engine.quality.probes import Probe, Scored
from engine.quality.samples import Sample

STRIDE = 16  # samples that both models are given in turn
Progress = Callable[[int, int], None]  # samples done, of how many


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over `rows` predictions. KL(reference || variant) and losses are in nats; losses are those of `targets`
    predicted tokens. Cosines are between the rows themselves."""

    rows: int = 0
    kl: float = 0.0
    agreed: int = 0
    cosine: float = 0.0
    targets: int = 0
    reference_loss: float = 0.0
    variant_loss: float = 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Totals)})


@dataclass(frozen=True, slots=True)
class Comparison:
    """Means of all rows. `agreement` is the share whose most likely token or class is the same; perplexities are None
    where nothing was to be predicted. For vectors only `cosine` means something."""

    rows: int
    kl: float
    agreement: float
    cosine: float
    reference_perplexity: float | None
    variant_perplexity: float | None


def totals(reference: Scored, variant: Scored) -> Totals:
    """Of one piece. Both have the same rows."""
    ours, theirs = variant.logits.float().cpu(), reference.logits.float().cpu()
    assert ours.shape == theirs.shape
    log_p, log_q = theirs.log_softmax(1), ours.log_softmax(1)
    kl = (log_p.exp() * (log_p - log_q)).sum(1)
    found = Totals(
        rows=len(ours),
        kl=float(kl.double().sum()),
        agreed=int((ours.argmax(1) == theirs.argmax(1)).sum()),
        cosine=float(torch.cosine_similarity(ours.double(), theirs.double()).sum()),
    )
    if reference.targets is None:
        return found
    at = reference.targets.cpu()[:, None]
    return found + Totals(
        targets=len(at),
        reference_loss=-float(log_p.gather(1, at).double().sum()),
        variant_loss=-float(log_q.gather(1, at).double().sum()),
    )


def comparison(found: Totals) -> Comparison:
    """The means of what was added up."""
    rows = max(1, found.rows)
    losses = (found.reference_loss, found.variant_loss) if found.targets else None
    both = None if losses is None else [perplexity(loss, found.targets) for loss in losses]
    return Comparison(found.rows, found.kl / rows, found.agreed / rows, found.cosine / rows, *(both or (None, None)))


def perplexity(loss: float, targets: int) -> float:
    """Of `targets` tokens whose losses in nats add up to `loss`; infinite where that is beyond a float."""
    mean = loss / targets
    return math.exp(mean) if mean < 700 else math.inf


def compare(reference: Probe, variant: Probe, samples: Sequence[Sample], progress: Progress) -> Comparison:
    """Runs the same samples through both, a few at a time: memory holds one piece of logits of each."""
    found = Totals()
    for done, chunk in _chunks(samples):
        for theirs, ours in zip(reference.score(chunk), variant.score(chunk), strict=True):
            found += totals(theirs, ours)
        progress(done, len(samples))
    return comparison(found)


def loss(scored: Scored) -> Tensor:
    """-log p in nats of each target: (R,) fp32."""
    assert scored.targets is not None
    return -scored.logits.float().log_softmax(1).gather(1, scored.targets[:, None])[:, 0]


def measure_perplexity(probe: Probe, samples: Sequence[Sample], progress: Progress) -> tuple[float, int]:
    """Of one model by itself, and the number of predicted tokens."""
    total, count = 0.0, 0
    for done, chunk in _chunks(samples):
        for scored in probe.score(chunk):
            total += float(loss(scored).double().sum())
            count += len(scored.logits)
        progress(done, len(samples))
    return perplexity(total, count), count


def run_through(probe: Probe, samples: Sequence[Sample], progress: Progress) -> None:
    """Runs samples for what their activations show; the logits are thrown away."""
    for done, chunk in _chunks(samples):
        for _ in probe.score(chunk):
            pass
        progress(done, len(samples))


def _chunks(samples: Sequence[Sample]) -> Iterator[tuple[int, Sequence[Sample]]]:
    for at in range(0, len(samples), STRIDE):
        yield min(at + STRIDE, len(samples)), samples[at : at + STRIDE]
