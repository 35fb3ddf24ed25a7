"""An encoder's tensors in one naming, assembled by its family from the checkpoint's, one layer at a time."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from engine.models.weights import LayerWeights, NormWeights


class EncoderWeights(Protocol):
    """Reads what is asked for and keeps nothing, so that memory holds about one layer beside the model."""

    def embedding(self) -> Tensor:
        """(vocabulary, hidden)"""

    def types(self) -> Tensor | None:
        """(token types, hidden), where the architecture has some."""

    def positions(self, length: int) -> Tensor | None:
        """(position offset + length, hidden) fp32, for learned or sinusoidal positions."""

    def relative_bias(self, length: int) -> Tensor | None:
        """(query heads, 2 length - 1) fp32, for relative positions: column key - query + length - 1 is added to the
        score of a key and a query."""

    def embedding_norm(self) -> NormWeights | None:
        """Of the summed embeddings, before the first layer."""

    def layer(self, index: int) -> LayerWeights: ...

    def final_norm(self) -> NormWeights | None: ...
