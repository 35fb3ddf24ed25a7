"""A word tokenizer with BERT's special tokens, and an encoder that says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors

from deployments.front_door.app import create_app
from deployments.front_door.served_models import ClassificationModel, EmbeddingModel, ServedModel
from deployments.front_door.service import Limits, Service
from deployments.variants import VariantInfo
from engine.encoder.request import Encoded, EncodeRequest
from engine.text.tokenizer import Tokenizer

CLS, SEP, UNK = 0, 1, 2
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LABELS = ("zero", "one", "two")


def letter_tokenizer() -> Tokenizer:
    """Each lower-case letter standing alone is a token, 3 to 28; other words are token 2. Texts are put between 0 and
    1, and the second one of two, with its end, is in segment 1."""
    vocab = {"[CLS]": CLS, "[SEP]": SEP, "[UNK]": UNK} | {letter: 3 + place for place, letter in enumerate(LETTERS)}
    backend = Backend(models.WordLevel(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    return Tokenizer(backend)


def ids(text: str) -> list[int]:
    """The tokens of letters, without special ones."""
    return [3 + LETTERS.index(letter) for letter in text if letter != " "]


@dataclass
class FakeEncoder:
    """Gives `values` for every text, or what `answer` makes of its tokens. Set `gate` to make it wait, `failure` to
    make it fail."""

    values: Sequence[float] = (1.0, 3.0, 2.0)
    answer: Callable[[EncodeRequest], Encoded] | None = None
    gate: Callable[[], Awaitable[None]] | None = None
    failure: Exception | None = None
    requests: list[EncodeRequest] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    calls: int = 0
    cancelled: int = 0

    async def encode(self, variant: str, requests: tuple[EncodeRequest, ...]) -> tuple[Encoded, ...]:
        self.calls += 1
        self.variants.append(variant)
        self.requests.extend(requests)
        try:
            if self.gate is not None:
                await self.gate()
            else:
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        return tuple(map(self.answer or self.fixed, requests))

    def fixed(self, request: EncodeRequest) -> Encoded:
        return Encoded(np.array(self.values, dtype=np.float32), queue_s=0.1, run_s=0.2)

    def asked(self) -> list[list[int]]:
        """The tokens of all texts so far."""
        return [list(request.tokens) for request in self.requests]


VARIANTS = (VariantInfo("fp32"), VariantInfo("bf16"))


def classifier(encoder: FakeEncoder, **changes: Any) -> ClassificationModel:
    """`intents`, with three labels and texts of at most 16 tokens."""
    fields: dict[str, Any] = {
        "name": "intents",
        "variants": VARIANTS,
        "max_model_len": 16,
        "created": 1_700_000_000,
        "tokenizer": letter_tokenizer(),
        "vocab_size": 29,
        "encode": encoder.encode,
        "labels": LABELS,
    }
    return ClassificationModel(**(fields | changes))


def embedder(encoder: FakeEncoder, **changes: Any) -> EmbeddingModel:
    """`vectors`, of three dimensions."""
    fields: dict[str, Any] = {
        "name": "vectors",
        "variants": VARIANTS,
        "max_model_len": 16,
        "tokenizer": letter_tokenizer(),
        "vocab_size": 29,
        "encode": encoder.encode,
        "dimension": 3,
    }
    return EmbeddingModel(**(fields | changes))


def service_of(*served: ServedModel, **changes: Any) -> Service:
    """A service of these models."""

    async def no_metrics() -> Sequence[str]:
        return ()

    async def status() -> Mapping[str, Any]:
        return {"models": []}

    fields: dict[str, Any] = {
        "models": {model.name: model for model in served},
        "ready": lambda: True,
        "metrics_sources": no_metrics,
        "status": status,
        "limits": Limits(),
    }
    return Service(**(fields | changes))


def client_of(*models: ServedModel, **changes: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(service_of(*models, **changes)))
    return httpx.AsyncClient(transport=transport, base_url="http://test")
