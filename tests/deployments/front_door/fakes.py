"""A byte-level tokenizer and an engine that says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from deployments.front_door.served_models import GenerationModel
from deployments.front_door.service import Limits, Service
from deployments.variants import VariantInfo
from engine.request import Delta, FinishReason, Request, Timings, TokenLogprobs
from engine.text.tokenizer import Tokenizer

BOS, EOS = 256, 257
VOCAB_SIZE = 258
TEMPLATE = (
    "{% for message in messages %}<s>{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def byte_tokenizer() -> Tokenizer:
    """Token i is byte i; 256 and 257 begin and end a text."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    vocab = {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(rest)}
    backend = Backend(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>"])
    return Tokenizer(
        backend,
        eos_token_ids=[EOS],
        bos_token_id=BOS,
        chat_template=TEMPLATE,
        special_tokens={"bos_token": "<s>", "eos_token": "</s>"},
    )


def logprob_of(token: int, count: int) -> TokenLogprobs:
    """Alternatives are the next tokens in the vocabulary, each half as likely."""
    top = tuple(((token + i) % 256, -0.5 - i) for i in range(count))
    return TokenLogprobs(token=token, logprob=-0.5, rank=1, top=top)


@dataclass
class FakeEngine:
    """Answers `text` in bundles, then the end token. Set `script` to say something else, `gate` to make it wait before
    each bundle, `failure` and `fail_after` to make it fail."""

    text: str = "Hello, world"
    bundle: int = 1
    cached_tokens: int = 0
    script: Callable[[Request], Sequence[Delta]] | None = None
    gate: Callable[[int], Awaitable[None]] | None = None
    failure: Exception | None = None
    fail_after: int = 0
    requests: list[Request] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    finished: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    sent: int = 0

    async def generate(self, variant: str, request: Request) -> AsyncIterator[Delta]:
        self.requests.append(request)
        self.variants.append(variant)
        self.open.add(request.id)
        try:
            for position, delta in enumerate(self.script(request) if self.script else self.answer(request)):
                if self.failure is not None and position == self.fail_after:
                    raise self.failure
                if self.gate is not None:
                    await self.gate(position)
                else:
                    await asyncio.sleep(0)
                if delta.finish_reason is not None:
                    self.finished.append(request.id)
                self.sent += 1
                yield delta
        finally:
            self.open.discard(request.id)
            if request.id not in self.finished:
                self.aborted.append(request.id)

    def answer(self, request: Request) -> list[Delta]:
        params = request.sampling
        tokens = [*self.text.encode(), EOS][: params.max_tokens]
        finish = FinishReason.STOP if tokens[-1:] == [EOS] else FinishReason.LENGTH
        deltas = []
        for start in range(0, max(1, len(tokens)), self.bundle):
            part = tokens[start : start + self.bundle]
            last = start + self.bundle >= len(tokens)
            prompt_logprobs: tuple[TokenLogprobs | None, ...] = ()
            if start == 0 and params.prompt_logprobs is not None:
                count = params.prompt_logprobs
                prompt_logprobs = (None, *(logprob_of(token, count) for token in request.prompt[1:]))
            deltas.append(
                Delta(
                    tokens=tuple(part),
                    finish_reason=finish if last else None,
                    logprobs=tuple(logprob_of(t, params.logprobs) for t in part) if params.logprobs is not None else (),
                    prompt_logprobs=prompt_logprobs,
                    cached_tokens=self.cached_tokens,
                    timings=Timings(0.1, 0.2, 0.4) if last else None,
                )
            )
        return deltas


def make_service(engine: FakeEngine, **changes: Any) -> Service:
    """One model, `tiny`, in two variants. Keyword arguments are the model's fields or the service's."""
    model_fields = set(GenerationModel.__dataclass_fields__)
    model: dict[str, Any] = {
        "name": "tiny",
        "variants": (VariantInfo("bf16"), VariantInfo("fp32")),
        "tokenizer": byte_tokenizer(),
        "chat_template": TEMPLATE,
        "max_model_len": 1024,
        "vocab_size": VOCAB_SIZE,
        "eos_token_ids": (EOS,),
        "created": 1_700_000_000,
        "generate": engine.generate,
    }
    model |= {key: value for key, value in changes.items() if key in model_fields}
    rest = {key: value for key, value in changes.items() if key not in model_fields}

    async def no_metrics() -> Sequence[str]:
        return ()

    async def status() -> Mapping[str, Any]:
        return {"models": ["tiny"]}

    service: dict[str, Any] = {
        "models": {model["name"]: GenerationModel(**model)},
        "ready": lambda: True,
        "metrics_sources": no_metrics,
        "status": status,
        "version": "1.2.3",
        "limits": Limits(),
    }
    return Service(**(service | rest))
