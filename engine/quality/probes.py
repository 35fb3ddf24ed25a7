"""Models as functions from samples to logits, teacher-forced: each prediction is made with the true tokens before it.

What runs through a probe is calibration data as well: its logits are ignored then, and the kernels observe. Logits come
in pieces of at most `ROWS` rows, and the same samples give the same pieces whatever the model's precision.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engine.batch import Span, build_batch
from engine.encoder.batching import batch_size
from engine.encoder.model import TextModel
from engine.models import Decoder
from engine.models.cross_decoder import Rows
from engine.models.packed import Text, pack
from engine.models.seq2seq import Seq2Seq
from engine.quality.samples import Sample

ROWS = 128
BATCH_TOKENS = 1024
BATCH = 32  # texts or sentences
BLOCK = 32  # tokens


@dataclass(frozen=True, slots=True)
class Scored:
    """`logits` (R, V) fp32, or vectors of texts; `targets` (R,) int64 are the tokens to predict, None where the data
    has none."""

    logits: Tensor
    targets: Tensor | None = None


class Probe(Protocol):
    """One model of any task."""

    def score(self, samples: Sequence[Sample]) -> Iterator[Scored]:
        """Piece by piece, in the samples' order. Raises what the model's forward pass raises."""


class DecoderProbe:
    """Windows of text, one a forward pass, of at most `longest` tokens."""

    def __init__(self, decoder: Decoder, longest: int) -> None:
        self.decoder = decoder
        kernels, blocks = decoder.kernels, -(-longest // BLOCK)
        self.caches = [kernels.make_cache(blocks, BLOCK, decoder.arch.heads) for _ in decoder.layers]

    def score(self, samples: Sequence[Sample]) -> Iterator[Scored]:
        device = self.decoder.kernels.device
        for sample in samples:
            span = Span(sample.tokens, 0, range(-(-len(sample.tokens) // BLOCK)))
            hidden = self.decoder.forward(build_batch([span], BLOCK, device), self.caches)[:-1]
            targets = torch.tensor(sample.tokens[1:], device=device)
            yield from _pieces(self.decoder, hidden, targets)


class TextProbe:
    """Texts through a classifier or embedder, packed into batches."""

    def __init__(self, model: TextModel) -> None:
        self.model = model

    def score(self, samples: Sequence[Sample]) -> Iterator[Scored]:
        encoder = self.model.encoder
        for batch in _batches(samples):
            texts = [Text(sample.tokens) for sample in batch]
            yield Scored(self.model(pack(texts, encoder.arch, encoder.kernels.device)))


class TranslationProbe:
    """Sentences with their translations: all tokens of a batch's targets in one step of the decoder."""

    def __init__(self, model: Seq2Seq) -> None:
        self.model = model

    def score(self, samples: Sequence[Sample]) -> Iterator[Scored]:
        encoder, decoder = self.model.encoder, self.model.decoder
        for batch in _batches(samples):
            texts = [Text(sample.tokens) for sample in batch]
            encoded = encoder.forward(pack(texts, encoder.arch, encoder.kernels.device))
            rows = target_rows(batch, len(encoded), decoder.kernels.device)
            caches = decoder.make_caches(len(encoded) + len(rows.tokens))
            decoder.remember(encoded, torch.arange(len(encoded), device=encoded.device), caches)
            hidden = decoder.forward(rows, caches)
            targets = [token for sample in batch for token in sample.target[1:]]
            yield from _pieces(decoder, hidden, torch.tensor(targets, device=hidden.device))


def target_rows(batch: Sequence[Sample], first: int, device: torch.device | str = "cpu") -> Rows:
    """The decoder step that feeds every target but its last token. Source tokens lie in the slots from 0 in order,
    target tokens in those from `first`."""
    fed = [len(sample.target) - 1 for sample in batch]
    own = list(itertools.accumulate(fed, initial=first))
    source = list(itertools.accumulate((len(sample.tokens) for sample in batch), initial=0))
    of_row = torch.repeat_interleave(torch.arange(len(batch)), torch.tensor(fed))

    def table(starts: list[int], counts: list[int]) -> Tensor:
        """(B, longest); what is beyond a row's length names its first slot, and is not looked at."""
        places = torch.arange(max(counts))[None] * (torch.arange(max(counts))[None] < torch.tensor(counts)[:, None])
        return (torch.tensor(starts[:-1])[:, None] + places).to(device, torch.int32)[of_row]

    places = torch.tensor([place for count in fed for place in range(count)], device=device)
    tokens = [token for sample in batch for token in sample.target[:-1]]
    sizes = torch.tensor([len(sample.tokens) for sample in batch])
    return Rows(
        tokens=torch.tensor(tokens, device=device),
        positions=places,
        slots=first + torch.arange(len(tokens), device=device),
        table=table(own, fed),
        lengths=(places + 1).int(),
        source_table=table(source, sizes.tolist()),
        source_lengths=sizes[of_row].to(device, torch.int32),
    )


class _Head(Protocol):
    def logits(self, hidden: Tensor) -> Tensor: ...


def _pieces(head: _Head, hidden: Tensor, targets: Tensor) -> Iterator[Scored]:
    for at in range(0, len(hidden), ROWS):
        yield Scored(head.logits(hidden[at : at + ROWS]), targets[at : at + ROWS])


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    left = list(samples)
    while left:
        count = batch_size((len(s.tokens) + len(s.target) for s in left), BATCH_TOKENS, BATCH)
        yield left[:count]
        left = left[count:]
