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
from engine.kernels.replay import Replay, replays
from engine.models.block import Cast, Norm, make_norm, make_widening
from engine.models.cross_architecture import CrossArchitecture
from engine.models.cross_weights import CrossDecoderWeights, CrossLayerWeights, check_cross_layer
from engine.models.transform import Transform, transformed, unchanged
from engine.models.weights import check_norm, check_shape


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

    def to(self, device: torch.device) -> Rows:
        if self.tokens.device == device:
            return self
        return Rows(*(part.to(device) for part in self.tensors()))

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them in order."""
        past = self.tokens, self.positions, self.slots, self.table, self.lengths
        return *past, self.source_table, self.source_lengths


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
        out.add_to(hidden, part(self.kernels.narrow(hidden)))
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


def load_tables(
    arch: CrossArchitecture,
    kernels: Kernels,
    weights: CrossDecoderWeights,
    transform: Transform,
    *,
    embed: bool,
    predict: bool,
) -> tuple[Embedding | None, Linear | None]:
    """The embedding, the output head, or both; one table where they are tied. Each computes the same as beside the
    other: a tied table is in the head's form for both. Raises CheckpointError."""
    shape = (arch.vocab_size, arch.hidden_size)
    bias = weights.head_bias() if predict else None
    if bias is not None:
        check_shape("bias of the output head", bias, shape[:1])
    embedding: Embedding | None = None
    head: Linear | None = None
    if (embed or predict) and weights.tied:
        table = transform("head", weights.embedding())
        check_shape("decoder, embedding", table, shape)
        if table.numel() > SMALL_TABLE:
            embedding, head = kernels.tied_embedding(table, arch.embedding_scale, bias)
            return embedding if embed else None, head if predict else None
        if embed:
            embedding = kernels.embedding(table, arch.embedding_scale)
        if predict:
            head = kernels.linear(table, bias)
        return embedding, head
    if embed:
        plain = weights.embedding()
        check_shape("decoder, embedding", plain, shape)
        embedding = kernels.embedding(plain, arch.embedding_scale)
    if predict:
        own = transform("head", weights.head())
        check_shape("output head", own, shape)
        head = kernels.linear(own, bias)
    return embedding, head


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
        self.positions: Tensor | None = None
        self.embedding_norm: Norm | Cast = Cast(kernels)
        self.final_norm: Norm | Cast = Cast(kernels)
        self.embedding, self.head = load_tables(
            arch, kernels, weights, transform, embed=first == 0, predict=last == arch.num_layers
        )
        if first == 0:
            self._load_positions(weights, max_target_len)
        if last == arch.num_layers and (norm := weights.final_norm()) is not None:
            check_norm("decoder, final norm", norm, arch.hidden_size)
            self.final_norm = make_norm(arch, kernels, norm)
        bias = weights.relative_bias(max_target_len)
        if bias is not None:
            check_shape("decoder, relative position bias", bias, (arch.heads, max_target_len))
            bias = bias.float().contiguous().to(kernels.device)
        self.replays, self.replay = replays(kernels), Replay()
        self.layers = []
        for index in range(first, last):
            layer = transformed(weights.layer(index), f"layers.{index}", transform)
            check_cross_layer(arch, index, layer)
            self.layers.append(CrossLayer(arch, kernels, layer, bias))

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
        x = self.kernels.narrow(encoded)
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
                self.kernels.add_rows(hidden, self.positions, rows.positions)
            hidden = self.embedding_norm.into(hidden, torch.float32)
        if not self.replays:
            return self._run(rows, caches, hidden)

        def run(hidden: Tensor, *parts: Tensor) -> Tensor:
            return self._run(Rows(rows.tokens, rows.positions, *parts), caches, hidden)

        past, source = (rows.table, rows.lengths), (rows.source_table, rows.source_lengths)
        return self.replay(caches, run, hidden, rows.slots, *past, *source)

    def _run(self, rows: Rows, caches: list[Tensor], hidden: Tensor) -> Tensor:
        for layer, cache in zip(self.layers, caches, strict=True):
            hidden = layer(hidden, rows, cache)
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (R, C) of the last layer -> (R, vocabulary) fp32."""
        assert self.head is not None
        return self.head.logits(self.final_norm(hidden))
