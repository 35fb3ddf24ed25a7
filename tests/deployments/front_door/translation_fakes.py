"""A translator of bytes that says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from deployments.front_door.served_models import TranslationModel
from deployments.variants import VariantInfo
from engine.seq2seq.request import Decoding, Hypothesis, Translated, TranslateRequest

END = 256
LANGUAGE = {"de": 300, "en": 301, "fr": 302}


@dataclass
class ByteText:
    """Token i is byte i; 256 ends a sentence. The target language is forced as the first token."""

    pairs: tuple[tuple[str, str], ...] = (("en", "de"),)
    max_source_tokens: int = 64
    decoding_defaults: Decoding = field(default_factory=lambda: Decoding(max_tokens=128))

    def encode(self, text: str, source: str, target: str) -> tuple[tuple[int, ...], int | None]:
        return (*text.encode(), END), LANGUAGE[target]

    def decode(self, tokens: tuple[int, ...]) -> str:
        return bytes(token for token in tokens if token < END).decode(errors="replace")


@dataclass
class FakeTranslator:
    """Translates by `rule`; each further hypothesis has one more "~". Set `gate` to make it wait, `failure` to make it
    fail, `error` to give back an error for every sentence."""

    rule: Callable[[str], str] = str.upper
    gate: Callable[[], Awaitable[None]] | None = None
    failure: Exception | None = None
    error: Exception | None = None
    requests: list[TranslateRequest] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    calls: int = 0
    cancelled: int = 0

    async def translate(self, variant: str, requests: tuple[TranslateRequest, ...]) -> tuple[Translated, ...]:
        self.calls += 1
        self.variants.append(variant)
        self.requests.extend(requests)
        try:
            await (self.gate() if self.gate is not None else asyncio.sleep(0))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        return tuple(map(self._answer, requests))

    def _answer(self, request: TranslateRequest) -> Translated:
        if self.error is not None:
            return Translated(error=self.error)
        text = self.rule(bytes(token for token in request.source if token < END).decode())
        return Translated(
            tuple(
                Hypothesis(tuple(f"{text}{'~' * rank}".encode())[: request.decoding.max_tokens], -float(rank))
                for rank in range(request.decoding.hypotheses)
            ),
            queue_s=0.1,
            run_s=0.2,
        )

    def asked(self) -> list[str]:
        """The sentences so far."""
        return [bytes(token for token in request.source if token < END).decode() for request in self.requests]


def translator(engine: FakeTranslator, **changes: Any) -> TranslationModel:
    """`en-de`, for sentences of at most 63 bytes."""
    fields: dict[str, Any] = {
        "name": "en-de",
        "variants": (VariantInfo("fp32"), VariantInfo("bf16")),
        "max_model_len": 64,
        "text": ByteText(),
        "translate": engine.translate,
    }
    return TranslationModel(**(fields | changes))
