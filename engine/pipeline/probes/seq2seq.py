"""An encoder-decoder's parts, over sentences from their first to their last step."""

from __future__ import annotations

import torch

from engine.checkpoint import Checkpoint
from engine.checkpoint.outline import Outline
from engine.kernels import Kernels
from engine.models.cross_decoder import CrossDecoder, Rows
from engine.models.encoder import Encoder
from engine.models.seq2seq import seq2seq_family_of
from engine.models.transform import under
from engine.pipeline.holding import held, held_values
from engine.pipeline.probes.encoder import embedding_bytes, encoder_kinds, encoder_probe, held_layers, text_batch
from engine.pipeline.probes.parts import Part, Probe, Probes, load_runs, one_more, sort_layers

SENTENCES = 16
TOKENS = 16  # of each source, and of each translation: so many decoder steps


def seq2seq_probes(checkpoint: Checkpoint, kernels: Kernels) -> Probes:
    """Of an encoder-decoder; its layers are the encoder's, then the decoder's. The decoder's embedding counts with its
    first layer. Raises CheckpointError."""
    family = seq2seq_family_of(checkpoint.config)
    arch = family.architecture(checkpoint.config)
    weights = family.weights(checkpoint, arch, kernels.dtype)
    outline = Outline(checkpoint)
    shapes = family.weights(outline, arch, kernels.dtype)
    outline.start()
    above = held_layers(outline, "encoder.layers", arch.encoder, shapes.encoder)
    below = [held(outline, f"decoder.layers.{i}", shapes.decoder.layer(i)) for i in range(arch.decoder.num_layers)]
    table, tied = shapes.decoder.embedding(), shapes.decoder.tied
    last_bytes = outline.held("decoder.head", table if tied else shapes.decoder.head())[1]
    table_bytes = last_bytes if tied else table.nbytes
    tables = held_values(
        shapes.decoder.positions(arch.decoder.max_positions or TOKENS), shapes.decoder.embedding_norm()
    )
    last_bytes += held_values(shapes.decoder.final_norm(), weights.decoder.head_bias())

    upper = encoder_kinds("encoder layer", above, arch.encoder)
    lower = sort_layers("decoder layer", [layer.schemes for layer in below], [layer.bytes for layer in below])
    change = checkpoint.product
    same = weights.shared and arch.encoder.embedding_scale == arch.decoder.embedding_scale

    def load_decoder(i: int) -> CrossDecoder:
        return CrossDecoder(arch.decoder, kernels, weights.decoder, TOKENS, i, i + 1, under("decoder.", change))

    first, last, decoders = load_runs(lower, load_decoder)

    def load_encoder(i: int) -> Encoder:
        embedding = first.embedding if same and i == 0 else None  # a prepared folder may have no other
        transform = under("encoder.", change)
        return Encoder(
            arch.encoder, kernels, weights.encoder, TOKENS, i, i + 1, embedding=embedding, transform=transform
        )

    encoder, _, encoders = load_runs(upper, load_encoder)
    batches = [text_batch(texts, TOKENS, arch.encoder, kernels.device) for texts in (1, 2, SENTENCES)]
    steps = [decode_rows(rows, kernels.device) for rows in (1, 2, SENTENCES)]
    embed = first.embedding
    assert embed is not None
    with torch.inference_mode():
        encoded, hidden = encoder.embed(batches[-1]), embed(steps[-1].tokens)

    def step_probe(run: CrossDecoder) -> Probe:
        caches = run.make_caches(SENTENCES * 2 * TOKENS)
        for rows in steps[:-1]:
            run.forward(rows, caches, hidden[: len(rows.tokens)].clone())  # from then on it is played again
        return lambda: run.forward(steps[-1], caches, hidden.clone())  # which layers write into

    def source_probe(run: CrossDecoder) -> Probe:
        caches = run.make_caches(SENTENCES * 2 * TOKENS)
        slots = steps[-1].source_table.flatten().long()
        return lambda: run.remember(encoded, slots, caches)

    def choose() -> object:
        logits = last.logits(hidden)
        return kernels.log_sums(logits), kernels.best(logits, 1)

    parts = [Part(one_more(kind), layer.bytes) for kind, layer in zip(upper.names, above, strict=True)]
    for index, (kind, layer) in enumerate(zip(lower.names, below, strict=True)):
        times = {**one_more(kind, TOKENS), **one_more(f"source, {kind}")}
        if index:
            parts.append(Part(times, layer.bytes))
        else:
            parts.append(Part({**times, "decoder embedding": TOKENS}, layer.bytes + table_bytes + tables))
    return Probes(
        run={
            **{name: encoder_probe(run, batches, encoded) for name, run in encoders.items()},
            **{name: step_probe(run) for name, run in decoders.items()},
            **{f"source, {name}": source_probe(run) for name, run in decoders.items()},
            "embedding": lambda: encoder.embed(batches[-1]),
            "decoder embedding": lambda: embed(steps[-1].tokens),
            "head": choose,
        },
        layers=tuple(parts),
        first=Part(
            {"embedding": 1},
            embedding_bytes(shapes.encoder, arch.encoder.max_positions or TOKENS, table_bytes if same else None),
        ),
        last=Part({"head": TOKENS}, last_bytes),
    )


def decode_rows(sentences: int, device: torch.device) -> Rows:
    """A step in the middle of the sentences: half of each translation is there."""

    def ints(values: object, dtype: torch.dtype = torch.int32) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    done = TOKENS // 2
    sources = [[row * TOKENS + i for i in range(TOKENS)] for row in range(sentences)]
    own = [[SENTENCES * TOKENS + row * TOKENS + i for i in range(done)] for row in range(sentences)]
    return Rows(
        tokens=ints([0] * sentences, torch.int64),
        positions=ints([done - 1] * sentences, torch.int64),
        slots=ints([table[-1] for table in own], torch.int64),
        table=ints(own),
        lengths=ints([done] * sentences),
        source_table=ints(sources),
        source_lengths=ints([TOKENS] * sentences),
    )
