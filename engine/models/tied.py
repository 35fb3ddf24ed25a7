"""The embeddings and the output head of an encoder-decoder, of which checkpoints store one to four.

What is tied is stored once under any of its names, or several times alike. What is stored under a name of its own and
differs is what the model was trained with, whatever config.json says of tying.
"""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from engine.models.named import Named

SHARED, ENCODER, DECODER, HEAD = (
    "shared.weight",
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "lm_head.weight",
)


class Tables:
    """Finds each table (vocabulary, hidden) under the first of its names that the checkpoint has."""

    def __init__(self, named: Named) -> None:
        self.named = named
        self._encoder = self._first(ENCODER, SHARED, DECODER, HEAD)
        self._decoder = self._first(DECODER, SHARED, HEAD, ENCODER)
        self._head = self._first(HEAD, DECODER, SHARED, ENCODER)
        self.shared = self._alike(self._encoder, self._decoder)

    def encoder(self) -> Tensor:
        return self.named.tensor(self._encoder)

    def decoder(self) -> Tensor:
        return self.named.tensor(self._decoder)

    @cached_property
    def tied(self) -> bool:
        """Whether the head is the decoder's embedding."""
        return self._alike(self._head, self._decoder)

    def head(self) -> Tensor:
        return self.named.tensor(self._head)

    def _first(self, *names: str) -> str:
        return next((name for name in names if self.named.has(name)), SHARED)

    def _alike(self, one: str, other: str) -> bool:
        if one == other:
            return True
        names = self.named.find(one), self.named.find(other)
        if names[0] is None or names[1] is None:
            return False
        return self.named.checkpoint.alike(names[0], names[1], self.named.dtype)
