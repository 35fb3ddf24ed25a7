"""One decoder-only Transformer, or a run of its layers, over the paged KV cache.

T new tokens of a batch, H query heads, D values a head, C hidden size. The residual stream is fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.batch import Batch
from engine.kernels import CacheBlocks, Embedding, HeadSetup, Kernels, Linear
from engine.kernels.replay import Replay, replays
from engine.models.architecture import Architecture
from engine.models.block import Block, Cast, Norm, make_norm
from engine.models.rope import rotary_tables
from engine.models.transform import Transform, transformed, unchanged
from engine.models.weights import Affine, DecoderWeights, LayerWeights, check_layer, check_norm, check_shape
from engine.quantization.weight import Weight


class Layer:
    """Attention and MLP, each added to the residual stream."""

    def __init__(self, arch: Architecture, kernels: Kernels, weights: LayerWeights, rope: tuple[Tensor, Tensor] | None):
        self.arch = arch
        self.kernels = kernels
        self.block = Block(arch, kernels, weights)
        self.qkv: Linear = kernels.linear(weights.qkv.weight, weights.qkv.bias)
        cos, sin = rope or (None, None)
        q_norm, k_norm = (None if w is None else w.float().to(kernels.device) for w in (weights.q_norm, weights.k_norm))
        self.heads = HeadSetup(cos, sin, q_norm, k_norm, arch.norm_eps)

    def __call__(self, hidden: Tensor, batch: Batch, cache: CacheBlocks) -> Tensor:
        """hidden (T, C), overwritten -> (T, C)."""
        return self.block(hidden, lambda x: self.attend(x, batch, cache))

    def attend(self, x: Tensor, batch: Batch, cache: CacheBlocks) -> Tensor:
        """(T, C) -> (T, H * D), before the output projection."""
        qkv = self.qkv(x)
        self.kernels.write_heads(qkv, self.arch.heads, self.heads, cache, batch)
        return self.kernels.attention(qkv, self.arch.heads, cache, batch)


class Decoder:
    """Layers `first` to `last` - 1 of a decoder. The first run also embeds, the last also has the final norm and head.

    Raises CheckpointError while loading.
    """

    def __init__(
        self,
        arch: Architecture,
        kernels: Kernels,
        weights: DecoderWeights,
        max_model_len: int,
        first: int = 0,
        last: int | None = None,
        transform: Transform = unchanged,
    ) -> None:
        last = arch.num_layers if last is None else last
        self.arch = arch
        self.kernels = kernels
        self.is_first, self.is_last = first == 0, last == arch.num_layers
        self.embedding: Embedding | None = None
        self.head: Linear | None = None
        self.positions: Tensor | None = None
        self.final_norm: Norm | Cast = Cast(kernels)
        self._load_ends(weights, max_model_len, transform)
        self.replays, self.replay = replays(kernels), Replay()
        rope = None
        if arch.rotary is not None:
            cos, sin = rotary_tables(arch.rotary, max_model_len, weights.rope_factors())
            rope = cos.to(kernels.device), sin.to(kernels.device)
        self.layers = []
        for index in range(first, last):
            layer = transformed(weights.layer(index), f"layers.{index}", transform)
            check_layer(arch, index, layer)
            self.layers.append(Layer(arch, kernels, layer, rope))

    def _load_ends(self, weights: DecoderWeights, max_model_len: int, transform: Transform) -> None:
        """Embedding and positions of the first layers, final norm and head of the last."""
        arch, kernels = self.arch, self.kernels
        table = (arch.vocab_size, arch.hidden_size)
        if self.is_first or (self.is_last and arch.tied_head):
            embedding: Weight = weights.embedding()
            if arch.tied_head:
                embedding = transform("head", embedding)
            check_shape("embedding", embedding, table)
            if arch.tied_head:
                # In the head's form for both, also where only one is needed: in stages or in one, the same is computed.
                rows, products = kernels.tied_embedding(embedding, arch.embedding_scale)
                self.embedding = rows if self.is_first else None
                self.head = products if self.is_last else None
            else:
                self.embedding = kernels.embedding(embedding, arch.embedding_scale)
        if self.is_last and not arch.tied_head:
            head = weights.head()
            head = Affine(transform("head", head.weight), head.bias)
            check_shape("output head", head.weight, table)
            if head.bias is not None:
                check_shape("bias of the output head", head.bias, table[:1])
            self.head = kernels.linear(head.weight, head.bias)
        if self.is_first and (positions := weights.positions(max_model_len)) is not None:
            check_shape("positions", positions, (max_model_len, arch.hidden_size))
            self.positions = positions.float().to(kernels.device)
        if self.is_last and (norm := weights.final_norm()) is not None:
            check_norm("final norm", norm, arch.hidden_size)
            self.final_norm = make_norm(arch, kernels, norm)

    @torch.inference_mode()
    def forward(self, batch: Batch, caches: list[CacheBlocks], hidden: Tensor | None = None) -> Tensor:
        """Runs the batch through these layers and writes its keys and values into `caches`, one a layer.

        `hidden` (T, C) fp32 comes from the layers before, None where these are the first. Returns (T, C).
        """
        if hidden is None:
            assert self.embedding is not None
            hidden = self.embedding(batch.tokens)
            if self.positions is not None:
                self.kernels.add_rows(hidden, self.positions, batch.positions)
        if not self.replays:
            return self._run(batch, caches, hidden)

        def run(hidden: Tensor, *parts: Tensor) -> Tensor:
            return self._run(Batch(batch.tokens, *parts), caches, hidden)

        steps = (batch.positions, batch.slots, batch.query_start, batch.context, batch.tables)
        return self.replay(caches, run, hidden, *steps)

    def _run(self, batch: Batch, caches: list[CacheBlocks], hidden: Tensor) -> Tensor:
        for layer, cache in zip(self.layers, caches, strict=True):
            hidden = layer(hidden, batch, cache)
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (R, C) of the last layer -> (R, vocabulary) fp32."""
        assert self.head is not None
        return self.head.logits(self.final_norm(hidden))
