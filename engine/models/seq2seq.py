"""Encoder-decoder families, and loading one from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from engine.kernels import Kernels
from engine.models import bart, loading, m2m100, marian, t5
from engine.models.cross_architecture import Seq2SeqArchitecture
from engine.models.cross_decoder import CrossDecoder, load_tables
from engine.models.cross_weights import Seq2SeqWeights
from engine.models.encoder import Encoder
from engine.models.transform import Transform, under


@dataclass(frozen=True, slots=True)
class Seq2SeqFamily:
    """How one kind of checkpoint is read."""

    architecture: Callable[[Mapping[str, Any]], Seq2SeqArchitecture]
    weights: Callable[[Checkpoint, Seq2SeqArchitecture, torch.dtype], Seq2SeqWeights]


@dataclass(frozen=True, slots=True)
class Seq2Seq:
    """An encoder and the decoder that goes with it, on the same kernels."""

    encoder: Encoder
    decoder: CrossDecoder

    @property
    def kernels(self) -> Kernels:
        return self.decoder.kernels


@dataclass(frozen=True, slots=True)
class Seq2SeqPart:
    """A run of layers, the encoder's counted first: of either half or of both."""

    encoder: Encoder | None
    decoder: CrossDecoder | None


T5 = Seq2SeqFamily(t5.architecture, t5.Weights)
SEQ2SEQ_FAMILIES: dict[str, Seq2SeqFamily] = {
    "bart": Seq2SeqFamily(bart.bart, bart.learned),
    "m2m_100": Seq2SeqFamily(m2m100.architecture, m2m100.weights),
    "marian": Seq2SeqFamily(marian.architecture, marian.weights),
    "mbart": Seq2SeqFamily(bart.mbart, bart.learned),
    "mt5": T5,
    "t5": T5,
}


def seq2seq_family_of(config: Mapping[str, Any]) -> Seq2SeqFamily:
    """The family by config.json's `model_type`. Raises CheckpointError for one that is not supported."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in SEQ2SEQ_FAMILIES:
        known = ", ".join(sorted(SEQ2SEQ_FAMILIES))
        raise CheckpointError(f"config.json: model_type {kind!r} is no supported translator; supported are {known}")
    return SEQ2SEQ_FAMILIES[kind]


def load_seq2seq(
    checkpoint: Checkpoint,
    kernels: Kernels,
    max_source_len: int,
    max_target_len: int,
    transform: Transform | None = None,
) -> Seq2Seq:
    """Loads both halves, one layer at a time. Lengths in tokens, special ones included.

    `transform` as in `load_decoder`. Raises CheckpointError for missing tensors or shapes that do not fit together,
    EngineFailed when memory is short.
    """
    arch = seq2seq_family_of(checkpoint.config).architecture(checkpoint.config)
    layers = arch.encoder.num_layers + arch.decoder.num_layers
    part = load_seq2seq_part(checkpoint, kernels, max_source_len, max_target_len, 0, layers, transform)
    assert part.encoder is not None
    assert part.decoder is not None
    return Seq2Seq(part.encoder, part.decoder)


def load_seq2seq_part(
    checkpoint: Checkpoint,
    kernels: Kernels,
    max_source_len: int,
    max_target_len: int,
    first: int,
    last: int,
    transform: Transform | None = None,
) -> Seq2SeqPart:
    """Layers `first` to `last` - 1, the encoder's counted first, then the decoder's; reads what they need alone.

    Raises as `load_seq2seq`.
    """
    family = seq2seq_family_of(checkpoint.config)
    arch = family.architecture(checkpoint.config)
    change = transform or checkpoint.product
    mine, theirs = under("encoder.", change), under("decoder.", change)
    between = arch.encoder.num_layers
    encoder: Encoder | None = None
    decoder: CrossDecoder | None = None
    with loading(checkpoint):
        weights = family.weights(checkpoint, arch, kernels.dtype)
        if last > between:
            begin = max(first - between, 0)
            decoder = CrossDecoder(
                arch.decoder, kernels, weights.decoder, max_target_len, begin, last - between, theirs
            )
        if first < between:
            embedding = None
            same = weights.shared and arch.encoder.embedding_scale == arch.decoder.embedding_scale
            if same and first == 0:
                embedding = decoder.embedding if decoder is not None else None
                if embedding is None:
                    tables = load_tables(arch.decoder, kernels, weights.decoder, theirs, embed=True, predict=False)
                    embedding = tables[0]
            encoder = Encoder(
                arch.encoder,
                kernels,
                weights.encoder,
                max_source_len,
                first,
                min(last, between),
                embedding=embedding,
                transform=mine,
            )
    return Seq2SeqPart(encoder, decoder)
