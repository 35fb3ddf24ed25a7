"""A decoder that attends to its own past and to an encoded source, both in one cache of slots.

R rows of a step, each the newest token of one hypothesis; T source tokens; H heads of D values; C hidden size. The
residual stream is fp32. A slot holds the key and value of one token in every layer: of one source token, shared by all
hypotheses of its sentence, or of one target token, shared by all hypotheses that contain it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.kernels import Embedding, Kernels, Linear
from engine.models.block import Cast, Norm, make_norm, make_widening
from engine.models.cross_architecture import CrossArchitecture
from engine.models.cross_weights import CrossDecoderWeights, CrossLayerWeights, check_cross_layer
from engine.models.transform import Transform, transformed, unchanged
from engine.models.weights import check_norm, check_shape
from engine.quantization.weight import Weight


@dataclass(frozen=True, slots=True)
class Rows:
    """One decoder step. `table` names the slots of each row's target tokens, its own new one last; `source_table` those
    of its source tokens."""

    tokens: Tensor  # (R,) int64
    positions: Tensor  # (R,) int64, 0 for the start token
    slots: Tensor  # (R,) int64, where the new tokens' keys and values go
    table: Tensor  # (R, longest) int32
    lengths: Tensor  # (R,) int32
    source_table: Tensor  # (R, longest source) int32
    source_lengths: Tensor  # (R,) int32


# Values up to which a table is held twice where it is both embedding and head: reading rows of one that is
# packed for products costs more.
SMALL_TABLE = 4 << 20


class CrossLayer:
    """Attention to the past, attention to the source, and MLP, each added to the residual stream."""

    def __init__(
        self, arch: CrossArchitecture, kernels: Kernels, weights: CrossLayerWeights, bias: Tensor | None
    ) -> None:
        self.arch = arch
        self.kernels = kernels
        self.bias = bias
        self.attention_norm = make_norm(arch, kernels, weights.attention_norm)
        self.source_norm = make_norm(arch, kernels, weights.source_norm)
        self.mlp_norm = make_norm(arch, kernels, weights.mlp_norm)
        self.qkv: Linear = kernels.linear(weights.qkv.weight, weights.qkv.bias)
        self.out: Linear = kernels.linear(weights.out.weight, weights.out.bias)
        self.source_q: Linear = kernels.linear(weights.source_q.weight, weights.source_q.bias)
        self.source_kv: Linear = kernels.linear(weights.source_kv.weight, weights.source_kv.bias)
        self.source_out: Linear = kernels.linear(weights.source_out.weight, weights.source_out.bias)
        self.widen = make_widening(arch, kernels, weights.up)
        self.down: Linear = kernels.linear(weights.down.weight, weights.down.bias)

    def __call__(self, hidden: Tensor, rows: Rows, cache: Tensor) -> Tensor:
        """hidden (R, C), overwritten -> (R, C)."""
        hidden = self.add(hidden, self.attention_norm, lambda x: self.attend(x, rows, cache), self.out)
        hidden = self.add(hidden, self.source_norm, lambda x: self.consult(x, rows, cache), self.source_out)
        return self.add(hidden, self.mlp_norm, self.widen, self.down)

    def add(self, hidden: Tensor, norm: Norm | Cast, part: Callable[[Tensor], Tensor], out: Linear) -> Tensor:
        """One part of the layer with its norm."""
        if self.arch.norm_first:
            out.add_to(hidden, part(norm(hidden)))
            return hidden
        out.add_to(hidden, part(hidden.to(self.kernels.dtype)))
        return norm.into(hidden, torch.float32)

    def attend(self, x: Tensor, rows: Rows, cache: Tensor) -> Tensor:
        """To the past and itself: (R, C) -> (R, H * D)."""
        inside = self.arch.heads * self.arch.head_width
        qkv = self.qkv(x)
        self.kernels.put_slots(cache, rows.slots, qkv[:, inside:])
        return self.kernels.gathered_attention(
            qkv[:, :inside], cache, rows.table, rows.lengths, self.arch.heads, self.arch.attention_scale, self.bias
        )

    def consult(self, x: Tensor, rows: Rows, cache: Tensor) -> Tensor:
        """To the source: (R, C) -> (R, H * D)."""
        return self.kernels.gathered_attention(
            self.source_q(x),
            cache,
            rows.source_table,
            rows.source_lengths,
            self.arch.heads,
            self.arch.attention_scale,
        )


class CrossDecoder:
    """Layers `first` to `last` - 1 of a decoder. The first run also embeds, the last also has the final norm and head.

    A target has at most `max_target_len` tokens, its start token included. Raises CheckpointError while loading.
    """

    def __init__(
        self,
        arch: CrossArchitecture,
        kernels: Kernels,
        weights: CrossDecoderWeights,
        max_target_len: int,
        first: int = 0,
        last: int | None = None,
        transform: Transform = unchanged,
    ) -> None:
        last = arch.num_layers if last is None else last
        self.arch = arch
        self.kernels = kernels
        self.embedding: Embedding | None = None
        self.head: Linear | None = None
        self.positions: Tensor | None = None
        self.embedding_norm: Norm | Cast = Cast(kernels)
        self.final_norm: Norm | Cast = Cast(kernels)
        self._load_tables(weights, transform, is_first=first == 0, is_last=last == arch.num_layers)
        if first == 0:
            self._load_positions(weights, max_target_len)
        if last == arch.num_layers and (norm := weights.final_norm()) is not None:
            check_norm("decoder, final norm", norm, arch.hidden_size)
            self.final_norm = make_norm(arch, kernels, norm)
        bias = weights.relative_bias(max_target_len)
        if bias is not None:
            check_shape("decoder, relative position bias", bias, (arch.heads, max_target_len))
            bias = bias.float().contiguous().to(kernels.device)
        self.layers = []
        for index in range(first, last):
            layer = transformed(weights.layer(index), f"layers.{index}", transform)
            check_cross_layer(arch, index, layer)
            self.layers.append(CrossLayer(arch, kernels, layer, bias))

    def _load_tables(self, weights: CrossDecoderWeights, transform: Transform, is_first: bool, is_last: bool) -> None:
        """The embedding of the first layers and the head of the last; one table where they are tied."""
        arch, kernels = self.arch, self.kernels
        shape = (arch.vocab_size, arch.hidden_size)
        own = weights.head() if is_last else None
        head: Weight | None = None if own is None else transform("head", own)
        bias = weights.head_bias() if is_last else None
        if bias is not None:
            check_shape("bias of the output head", bias, shape[:1])
        if is_first or (is_last and head is None):
            embedding: Weight = weights.embedding()
            if is_last and head is None:
                embedding = transform("head", embedding)
            check_shape("decoder, embedding", embedding, shape)
            if is_first and is_last and head is None and embedding.numel() > SMALL_TABLE:
                self.embedding, self.head = kernels.tied_embedding(embedding, arch.embedding_scale, bias)
                return
            if is_first:
                self.embedding = kernels.embedding(embedding, arch.embedding_scale)
            head = embedding if head is None else head
        if is_last:
            assert head is not None
            check_shape("output head", head, shape)
            self.head = kernels.linear(head, bias)

    def _load_positions(self, weights: CrossDecoderWeights, max_target_len: int) -> None:
        arch = self.arch
        if (positions := weights.positions(max_target_len)) is not None:
            check_shape("decoder, positions", positions, (max_target_len, arch.hidden_size))
            self.positions = positions.float().to(self.kernels.device)
        if (norm := weights.embedding_norm()) is not None:
            check_norm("decoder, embedding norm", norm, arch.hidden_size)
            self.embedding_norm = make_norm(arch, self.kernels, norm)

    def slot_bytes(self) -> int:
        """Of one slot in all these layers."""
        return len(self.layers) * 2 * self.arch.heads * self.arch.head_width * self.kernels.dtype.itemsize

    def make_caches(self, slots: int) -> list[Tensor]:
        """Room for `slots` tokens, one tensor (slots, 2, H * D) a layer. What is not written yet takes no memory."""
        shape = (slots, 2, self.arch.heads * self.arch.head_width)
        return [torch.zeros(shape, dtype=self.kernels.dtype, device=self.kernels.device) for _ in self.layers]

    @torch.inference_mode()
    def remember(self, encoded: Tensor, slots: Tensor, caches: list[Tensor]) -> None:
        """Puts the keys and values of source tokens, encoded (T, C) fp32, into slots (T,) int64 of every layer."""
        x = encoded.to(self.kernels.dtype)
        for layer, cache in zip(self.layers, caches, strict=True):
            self.kernels.put_slots(cache, slots, layer.source_kv(x))

    @torch.inference_mode()
    def forward(self, rows: Rows, caches: list[Tensor], hidden: Tensor | None = None) -> Tensor:
        """Runs one token of every row through these layers; writes their keys and values into `caches`.

        `hidden` (R, C) fp32 comes from the layers before, None where these are the first. Returns (R, C).
        """
        if hidden is None:
            assert self.embedding is not None
            hidden = self.embedding(rows.tokens)
            if self.positions is not None:
                hidden += self.positions[rows.positions]
            hidden = self.embedding_norm.into(hidden, torch.float32)
        for layer, cache in zip(self.layers, caches, strict=True):
            hidden = layer(hidden, rows, cache)
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (R, C) of the last layer -> (R, vocabulary) fp32."""
        assert self.head is not None
        return self.head.logits(self.final_norm(hidden))
