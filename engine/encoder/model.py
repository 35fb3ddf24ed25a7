"""An encoder with what makes one vector of each text: a classifier's head, or pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.models import Classifier, Encoder
from engine.models.packed import Packed
from engine.models.pooling import Pooling, pool


class TextModel(Protocol):
    """Packed texts -> (B, width) fp32. `hidden` (T, C) fp32 comes from earlier layers where `encoder` is but the last
    of them."""

    @property
    def encoder(self) -> Encoder: ...

    def __call__(self, batch: Packed, hidden: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class TextClassifier:
    """Gives the raw class scores."""

    encoder: Encoder
    head: Classifier

    def __call__(self, batch: Packed, hidden: Tensor | None = None) -> Tensor:
        if self.head.pooling == "cls":
            return self.head(self.encoder.forward(batch, hidden, rows=batch.starts[:-1].long()))
        return self.head(pool(self.encoder.forward(batch, hidden), batch.starts, self.head.pooling))


@dataclass(frozen=True, slots=True)
class TextEmbedder:
    """Gives embeddings, several poolings joined end to end."""

    encoder: Encoder
    pooling: tuple[Pooling, ...]
    normalize: bool

    @torch.inference_mode()
    def __call__(self, batch: Packed, hidden: Tensor | None = None) -> Tensor:
        if self.pooling == ("cls",):
            vectors = self.encoder.forward(batch, hidden, rows=batch.starts[:-1].long())
        else:
            hidden = self.encoder.forward(batch, hidden)
            vectors = torch.cat([pool(hidden, batch.starts, pooling) for pooling in self.pooling], dim=1)
        return F.normalize(vectors, dim=1) if self.normalize else vectors
