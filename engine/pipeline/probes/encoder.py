"""An encoder's parts, over packed texts."""

from __future__ import annotations

import torch

from engine.checkpoint import Checkpoint
from engine.checkpoint.outline import Outline
from engine.encoder.describe import Task, describe
from engine.kernels import Kernels
from engine.models import Encoder, encoder_family_of, load_classifier, load_encoder
from engine.models.encoder_architecture import EncoderArchitecture
from engine.models.encoder_weights import EncoderWeights
from engine.models.named import Named
from engine.models.packed import Packed, Text, pack
from engine.models.pooling import pool
from engine.pipeline.holding import Held, held, held_values
from engine.pipeline.probes.parts import Kinds, Part, Probe, Probes, load_runs, one_more, sort_layers

TEXTS, TOKENS = 8, 32  # of each text


def encoder_probes(checkpoint: Checkpoint, kernels: Kernels, task: Task) -> Probes:
    """Of an encoder with what its task has after it. Raises CheckpointError."""
    family = encoder_family_of(checkpoint.config)
    arch = family.architecture(checkpoint.config)
    info = describe(checkpoint, task)
    length = min(TOKENS, info.max_tokens)
    outline = Outline(checkpoint)
    weights = family.weights(outline, arch, kernels.dtype)
    outline.start()
    layers = held_layers(outline, "layers", arch, weights)
    last_bytes = held_values(weights.final_norm())
    scores = None
    if task == "text-classification":
        head = family.head(Named(outline, kernels.dtype, family.prefix), checkpoint.config)
        last_bytes += held(outline, "classifier", head).bytes
        scores = load_classifier(checkpoint, kernels, len(info.labels))

    kinds = encoder_kinds("layer", layers, arch)
    first, _, runs = load_runs(kinds, lambda i: load_encoder(checkpoint, kernels, length, i, i + 1))
    batches = [text_batch(texts, length, arch, kernels.device) for texts in (1, 2, TEXTS)]
    with torch.inference_mode():
        hidden = first.embed(batches[-1])

    def finish() -> object:
        if scores is not None:
            return scores(pool(hidden, batches[-1].starts, scores.pooling))
        return [pool(hidden, batches[-1].starts, pooling) for pooling in info.pooling]

    return Probes(
        run={
            **{name: encoder_probe(run, batches, hidden) for name, run in runs.items()},
            "embedding": lambda: first.embed(batches[-1]),
            "head": finish,
        },
        layers=tuple(Part(one_more(kind), layer.bytes) for kind, layer in zip(kinds.names, layers, strict=True)),
        first=Part({"embedding": 1}, embedding_bytes(weights, arch.max_positions or length)),
        last=Part({"head": 1}, last_bytes),
    )


def held_layers(outline: Outline, prefix: str, arch: EncoderArchitecture, weights: EncoderWeights) -> list[Held]:
    """Of each layer."""
    return [held(outline, f"{prefix}.{i}", weights.layer(i)) for i in range(arch.num_layers)]


def encoder_kinds(side: str, layers: list[Held], arch: EncoderArchitecture) -> Kinds:
    """Layers that attend to what is near only are faster than others."""
    kinds = [(layer.schemes, index in arch.local_layers) for index, layer in enumerate(layers)]
    return sort_layers(side, kinds, [layer.bytes for layer in layers])


def encoder_probe(run: Encoder, batches: list[Packed], hidden: torch.Tensor) -> Probe:
    """Runs the last of the batches, whose embedded tokens are `hidden`. The others are smaller and come first: from
    then on the run is played again."""
    for batch in batches[:-1]:
        run.forward(batch, hidden[: len(batch.tokens)].clone())
    return lambda: run.forward(batches[-1], hidden.clone())  # which layers write into


def embedding_bytes(weights: EncoderWeights, length: int, table: int | None = None) -> int:
    """Of all that goes into the first layer, for texts of up to `length` tokens. `table`, in bytes, is the embedding
    where it is another part's."""
    tables = held_values(weights.positions(length), weights.types(), weights.embedding_norm())
    return (weights.embedding().nbytes if table is None else table) + tables


def text_batch(texts: int, length: int, arch: EncoderArchitecture, device: torch.device) -> Packed:
    """Texts of `length` tokens each."""
    tokens = [[(text + i) % arch.vocab_size for i in range(length)] for text in range(texts)]
    return pack([Text(one) for one in tokens], arch, device)
