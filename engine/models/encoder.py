"""One bidirectional Transformer, or a run of its layers, over packed texts.

T tokens of a batch, H query heads, D values a head, C hidden size. The residual stream is fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.kernels import Embedding, HeadSetup, Kernels, Linear
from engine.kernels.replay import Replay, replays
from engine.models.architecture import Rotary
from engine.models.block import Block, Cast, Norm, make_norm
from engine.models.encoder_architecture import EncoderArchitecture
from engine.models.encoder_weights import EncoderWeights
from engine.models.packed import Packed, Text, pack
from engine.models.rope import rotary_tables
from engine.models.transform import Transform, transformed, unchanged
from engine.models.weights import LayerWeights, check_layer, check_norm, check_shape


class EncoderLayer:
    """Attention and MLP, each added to the residual stream."""

    def __init__(
        self,
        arch: EncoderArchitecture,
        kernels: Kernels,
        weights: LayerWeights,
        setup: HeadSetup,
        bias: Tensor | None,
        window: int | None,
    ) -> None:
        self.arch = arch
        self.kernels = kernels
        self.block = Block(arch, kernels, weights)
        self.qkv: Linear = kernels.linear(weights.qkv.weight, weights.qkv.bias)
        self.setup = setup
        self.bias = bias
        self.window = window

    def __call__(self, hidden: Tensor, batch: Packed, rows: Tensor | None = None) -> Tensor:
        """hidden (T, C), overwritten -> (T, C), or of `rows` (R,) only: (R, C)."""
        return self.block(hidden, lambda x: self.attend(x, batch), rows)

    def attend(self, x: Tensor, batch: Packed) -> Tensor:
        """(T, C) -> (T, H * D), before the output projection."""
        qkv, heads = self.qkv(x), self.arch.heads
        if self.setup.cos is not None:
            self.kernels.rotate(qkv, heads, self.setup, batch.positions)
        return self.kernels.packed_attention(
            qkv, heads, batch.starts, scale=self.arch.attention_scale, bias=self.bias, window=self.window
        )


class Encoder:
    """Layers `first` to `last` - 1 of an encoder. The first run also embeds, the last also has the final norm.

    Texts may have up to `max_model_len` tokens. `embedding` is one that is loaded already, a decoder's say. Raises
    CheckpointError while loading.
    """

    def __init__(
        self,
        arch: EncoderArchitecture,
        kernels: Kernels,
        weights: EncoderWeights,
        max_model_len: int,
        first: int = 0,
        last: int | None = None,
        embedding: Embedding | None = None,
        transform: Transform = unchanged,
    ) -> None:
        last = arch.num_layers if last is None else last
        self.arch = arch
        self.kernels = kernels
        self.embedding = embedding
        self.positions: Tensor | None = None
        self.types: Tensor | None = None
        self.embedding_norm: Norm | Cast = Cast(kernels)
        self.final_norm: Norm | Cast = Cast(kernels)
        if first == 0:
            self._load_embeddings(weights, max_model_len)
        if last == arch.num_layers and (norm := weights.final_norm()) is not None:
            check_norm("final norm", norm, arch.hidden_size)
            self.final_norm = make_norm(arch, kernels, norm)
        bias = weights.relative_bias(max_model_len)
        if bias is not None:
            check_shape("relative position bias", bias, (arch.heads.query, 2 * max_model_len - 1))
            bias = bias.float().to(kernels.device)
        everywhere, nearby = self._rotary_setups(max_model_len)
        self.replays, self.replay, self.replay_some = replays(kernels), Replay(), Replay()
        self.layers = []
        for index in range(first, last):
            layer = transformed(weights.layer(index), f"layers.{index}", transform)
            check_layer(arch, index, layer)
            local = index in arch.local_layers
            setup, window = (nearby, arch.window) if local else (everywhere, None)
            self.layers.append(EncoderLayer(arch, kernels, layer, setup, bias, window))

    def _load_embeddings(self, weights: EncoderWeights, max_model_len: int) -> None:
        arch, device = self.arch, self.kernels.device
        if self.embedding is None:
            embedding = weights.embedding()
            check_shape("embedding", embedding, (arch.vocab_size, arch.hidden_size))
            self.embedding = self.kernels.embedding(embedding, arch.embedding_scale)
        if (positions := weights.positions(max_model_len)) is not None:
            check_shape("positions", positions, (arch.position_offset + max_model_len, arch.hidden_size))
            self.positions = positions.float().to(device)
        if (types := weights.types()) is not None:
            check_shape("token types", types, (arch.token_types, arch.hidden_size))
            self.types = types.float().to(device)
        if (norm := weights.embedding_norm()) is not None:
            check_norm("embedding norm", norm, arch.hidden_size)
            self.embedding_norm = make_norm(arch, self.kernels, norm)

    def _rotary_setups(self, max_model_len: int) -> tuple[HeadSetup, HeadSetup]:
        """For layers that attend to the whole text, and for local ones."""

        def setup(rotary: Rotary | None) -> HeadSetup:
            if rotary is None:
                return HeadSetup()
            cos, sin = rotary_tables(rotary, max_model_len)
            return HeadSetup(cos.to(self.kernels.device), sin.to(self.kernels.device))

        return setup(self.arch.rotary), setup(self.arch.local_rotary)

    def embed(self, batch: Packed) -> Tensor:
        """(T, C) fp32, what goes into the first layer."""
        assert self.embedding is not None
        hidden = self.embedding(batch.tokens)
        if self.positions is not None:
            self.kernels.add_rows(hidden, self.positions, batch.positions)
        if self.types is not None:
            self.kernels.add_rows(hidden, self.types, batch.types)
        return self.embedding_norm.into(hidden, torch.float32)

    @torch.inference_mode()
    def forward(self, batch: Packed, hidden: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """Runs the texts through these layers; `hidden` (T, C) fp32 comes from the layers before, None where these are
        the first. Returns (T, C) fp32, with the final norm after the last layer.

        Whoever needs some tokens only gives their `rows` (R,) and gets (R, C): the last layer leaves out the rest.
        """
        if hidden is None:
            hidden = self.embed(batch)
        if not self.replays:
            return self._run(batch, hidden, rows)

        def run(hidden: Tensor, positions: Tensor, starts: Tensor, rows: Tensor | None = None) -> Tensor:
            return self._run(Packed(batch.tokens, batch.types, positions, starts), hidden, rows)

        if rows is None:
            return self.replay(self.layers, run, hidden, batch.positions, batch.starts)
        return self.replay_some(self.layers, run, hidden, batch.positions, batch.starts, rows)

    def rehearse(self) -> None:
        """Runs short texts, whose run of operators is then played again for any batch: later ones may all be long."""
        if not self.replays:
            return
        for length in (1, 2):
            text = pack([Text([0] * length)], self.arch, self.kernels.device)
            for rows in (None, torch.zeros(1, dtype=torch.int64)):
                hidden = None if self.embedding is not None else torch.zeros(length, self.arch.hidden_size)
                self.forward(text, hidden, rows)

    def _run(self, batch: Packed, hidden: Tensor, rows: Tensor | None) -> Tensor:
        for layer in self.layers[:-1]:
            hidden = layer(hidden, batch)
        return self.final_norm.into(self.layers[-1](hidden, batch, rows), torch.float32)
