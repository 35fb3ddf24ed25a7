"""The bodies of `/classify` (vLLM's) and `/predict` (text-embeddings-inference's)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from deployments.front_door.schemas.inputs import EncoderBody, PredictInputs, TeiBody


class ClassifyBody(EncoderBody):
    """`use_activation` false asks for raw scores; `activation` and `softmax` are its older names."""

    use_activation: bool | None = None
    activation: bool | None = None
    softmax: bool | None = None

    ignored: ClassVar[frozenset[str]] = frozenset({"request_id", "user"})
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "cache_salt": (),
        "messages": (),
        "mm_processor_kwargs": ({},),
        "padding": ("do_not_pad",),
    }

    @property
    def raw(self) -> bool:
        asked = (self.use_activation, self.activation, self.softmax)
        return next((choice for choice in asked if choice is not None), True) is False


class PredictBody(TeiBody):
    """`inputs` is a text, a pair of texts, or a batch of lists of one or two texts."""

    inputs: PredictInputs
    raw_scores: bool = False
