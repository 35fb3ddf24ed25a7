"""A decoder's parts, at a decode step."""

from __future__ import annotations

import torch

from engine.batch import Batch, Span, build_batch
from engine.checkpoint import Checkpoint
from engine.checkpoint.outline import Outline
from engine.kernels import Kernels
from engine.models import Decoder, family_of, load_decoder, read_architecture
from engine.pipeline.holding import held, held_values
from engine.pipeline.probes.parts import Part, Probe, Probes, load_runs, one_more, sort_layers
from engine.sampling.draw import argmax

ROWS = 16
CONTEXT = 128  # tokens that each row has, its new one included
BLOCK = 32


def decoder_probes(checkpoint: Checkpoint, kernels: Kernels) -> Probes:
    """Of a decoder-only model. Raises CheckpointError."""
    arch = read_architecture(checkpoint)
    context = min(CONTEXT, arch.max_positions)
    outline = Outline(checkpoint)
    weights = family_of(checkpoint.config).weights(outline, arch, kernels.dtype)
    outline.start()
    layers = [held(outline, f"layers.{i}", weights.layer(i)) for i in range(arch.num_layers)]
    table = weights.embedding()
    first_bytes = table.nbytes
    if arch.tied_head:
        first_bytes = last_bytes = outline.held("head", table)[1]
    else:
        head = weights.head()
        last_bytes = outline.held("head", head.weight)[1] + held_values(head.bias)

    kinds = sort_layers("layer", [layer.schemes for layer in layers], [layer.bytes for layer in layers])
    first, last, runs = load_runs(kinds, lambda i: load_decoder(checkpoint, kernels, context, i, i + 1))
    batches = [decode_batch(rows, context, arch.vocab_size, kernels.device) for rows in (1, 2, ROWS)]
    embed = first.embedding
    assert embed is not None
    hidden = embed(batches[-1].tokens)

    def layer_probe(run: Decoder) -> Probe:
        blocks = ROWS * -(-context // BLOCK)
        caches = [kernels.make_cache(blocks, BLOCK, arch.heads) for _ in run.layers]
        for batch in batches[:-1]:
            run.forward(batch, caches, hidden[: len(batch.tokens)].clone())  # from then on it is played again
        return lambda: run.forward(batches[-1], caches, hidden.clone())  # which layers write into

    return Probes(
        run={
            **{name: layer_probe(run) for name, run in runs.items()},
            "embedding": lambda: embed(batches[-1].tokens),
            "head": lambda: argmax(last.logits(hidden)),
        },
        layers=tuple(Part(one_more(kind), layer.bytes) for kind, layer in zip(kinds.names, layers, strict=True)),
        first=Part({"embedding": 1}, first_bytes + held_values(weights.positions(context))),
        last=Part({"head": 1}, last_bytes + held_values(weights.final_norm())),
    )


def decode_batch(rows: int, context: int, vocabulary: int, device: torch.device) -> Batch:
    """The newest token of each row."""
    each = -(-context // BLOCK)
    spans = [Span([row % vocabulary], context - 1, range(row * each, (row + 1) * each)) for row in range(rows)]
    return build_batch(spans, BLOCK, device)
