"""Work and answers of text generation as messages, and the stage that they are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from engine.batch import Batch
from engine.pipeline.generation import Answer, DecoderLayers, PromptAsk, Work
from engine.pipeline.message import Message
from engine.request import SamplingParams, TokenLogprobs
from engine.sampling.pick import Frozen, Pick, freeze
from engine.sampling.sampler import Sampled

STEP, ANSWER = "step", "answer"
_BATCH = tuple(field.name for field in fields(Batch))
# Of a row's parameters these matter to the choice of its next token; they travel where they are not the usual.
_CHOOSING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "seed",
    "logprobs",
)
_USUAL = SamplingParams(max_tokens=0)


def to_message(work: Work, vocab_size: int) -> Message:
    """For a pipeline's first stage. Rows are copied as they stand.

    Behind the batch's tensors, where some row has them, come all rows' seen tokens and their counts, and all masks.
    """
    frozen = [freeze(pick, vocab_size) for pick in work.picks]
    seen = [pick.counts for pick in frozen if pick.counts is not None]
    masks = [pick.mask for pick in frozen if pick.mask is not None]
    arrays = [np.concatenate(part) for part in zip(*seen, strict=True)] + ([np.concatenate(masks)] if masks else [])
    meta = {
        "rows": work.rows,
        "picks": [_pick_meta(pick) for pick in frozen],
        "prompts": [[ask.start, ask.following, ask.top] for ask in work.prompts],
    }
    batch = (getattr(work.batch, name) for name in _BATCH)
    return Message(STEP, meta, (*batch, *map(torch.from_numpy, arrays)))


def to_work(message: Message) -> Work:
    """What `to_message` was given, for the last stage."""
    meta = message.meta
    return Work(
        batch_of(message),
        tuple(meta["rows"]),
        tuple(_picks(meta["picks"], [tensor.numpy() for tensor in message.tensors[len(_BATCH) :]])),
        tuple(PromptAsk(start, tuple(following), top) for start, following, top in meta["prompts"]),
    )


def batch_of(message: Message) -> Batch:
    """The tensors that every stage needs."""
    return Batch(*message.tensors[: len(_BATCH)])


def answer_message(answer: Answer) -> Message:
    """What the last stage sends back."""
    meta = {
        "tokens": [one.token for one in answer.sampled],
        "logprobs": [None if one.logprobs is None else _logprobs_meta(one.logprobs) for one in answer.sampled],
        "prompts": [[_logprobs_meta(one) for one in prompt] for prompt in answer.prompts],
    }
    return Message(ANSWER, meta, ())


def to_answer(message: Message) -> Answer:
    """What `answer_message` was given."""
    meta = message.meta
    pairs = zip(meta["tokens"], meta["logprobs"], strict=True)
    return Answer(
        [Sampled(token, None if found is None else _logprobs(found)) for token, found in pairs],
        [[_logprobs(one) for one in prompt] for prompt in meta["prompts"]],
    )


@dataclass(frozen=True, slots=True)
class DecoderStage:
    """Answers from the last stage; the others add the hidden states (T, C) that the next goes on from."""

    layers: DecoderLayers
    weight_bytes: int

    @property
    def cache_bytes(self) -> int:
        return self.layers.cache_bytes

    def run(self, message: Message) -> Message:
        decoder = self.layers.decoder
        tensors, before = message.tensors, None
        if not decoder.is_first:
            tensors, before = tensors[:-1], tensors[-1]
        hidden = self.layers.forward(batch_of(message), before)
        if decoder.is_last:
            return answer_message(self.layers.answer(to_work(message), hidden))
        return Message(STEP, message.meta, (*tensors, hidden.cpu()))


def _pick_meta(pick: Frozen) -> dict[str, Any]:
    """`pick` with the sizes of its arrays in place of them."""
    params = {name: value for name in _CHOOSING if (value := getattr(pick.params, name)) != getattr(_USUAL, name)}
    if pick.params.logit_bias:
        params["logit_bias"] = list(pick.params.logit_bias.items())  # JSON's keys are strings
    meta: dict[str, Any] = {"at": pick.position, "params": params}
    if not pick.adjusted:
        return meta
    meta["held_back"] = pick.held_back
    if pick.counts is not None:
        meta["seen"] = len(pick.counts[0])
    if pick.mask is not None:
        meta["mask"] = len(pick.mask)
    return meta


def _picks(metas: Sequence[dict[str, Any]], arrays: Sequence[np.ndarray]) -> Iterator[Pick]:
    """The rows, each with its part of the arrays."""
    left = iter(arrays)
    seen = [next(left), next(left)] if any("seen" in meta for meta in metas) else []
    masks = next(left) if any("mask" in meta for meta in metas) else None
    counted = masked = 0
    for meta in metas:
        params = dict(meta["params"])
        if "logit_bias" in params:
            params["logit_bias"] = dict(params["logit_bias"])
        counts = mask = None
        if "seen" in meta:
            counted += meta["seen"]
            tokens, numbers = (part[counted - meta["seen"] : counted] for part in seen)
            counts = tokens, numbers
        if "mask" in meta:
            assert masks is not None
            masked += meta["mask"]
            mask = masks[masked - meta["mask"] : masked]
        held_back = tuple(meta.get("held_back", ()))
        yield Frozen(SamplingParams(max_tokens=0, **params), meta["at"], "held_back" in meta, held_back, counts, mask)


def _logprobs_meta(found: TokenLogprobs) -> list[Any]:
    return [found.token, found.logprob, found.rank, found.top]


def _logprobs(meta: Sequence[Any]) -> TokenLogprobs:
    token, logprob, rank, top = meta
    return TokenLogprobs(token, logprob, rank, tuple((other, value) for other, value in top))
