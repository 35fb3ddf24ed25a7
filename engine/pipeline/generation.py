"""Text generation: what a step asks of the layers, and a run of layers that computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from engine.batch import Batch
from engine.kernels import CacheBlocks
from engine.models import Decoder
from engine.request import TokenLogprobs
from engine.sampling.logprobs import prompt_logprobs
from engine.sampling.pick import Pick
from engine.sampling.sampler import Sampled, sample
from engine.spans import span

PROMPT_LOGPROB_ROWS = 64  # logits of so many prompt tokens at a time: a whole chunk of them is a lot of memory


@dataclass(frozen=True, slots=True)
class PromptAsk:
    """The log-probabilities of prompt tokens: `following` are those after the batch's tokens from `start` on."""

    start: int
    following: tuple[int, ...]
    top: int


@dataclass(frozen=True, slots=True)
class Work:
    """One step: T new tokens; those at `rows` are the last of their sequences, whose next tokens are chosen as `picks`
    say."""

    batch: Batch
    rows: tuple[int, ...]
    picks: tuple[Pick, ...]
    prompts: tuple[PromptAsk, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The chosen tokens and the prompts' log-probabilities, in the work's order."""

    sampled: Sequence[Sampled]
    prompts: Sequence[Sequence[TokenLogprobs]] = ()


class DecoderLayers:
    """A run of a decoder's layers with their caches. The last of them choose tokens."""

    def __init__(self, decoder: Decoder, caches: list[CacheBlocks]) -> None:
        self.decoder = decoder
        self.caches = caches

    def compute(self, work: Work) -> Answer:
        """All of it, where these are all layers."""
        return self.answer(work, self.forward(work.batch))

    def forward(self, batch: Batch, hidden: Tensor | None = None) -> Tensor:
        """As `Decoder.forward`, for tensors that may lie elsewhere: (T, C) on the layers' device."""
        device = self.decoder.kernels.device
        if device.type != "cpu":
            batch = on_device(batch, device)
            hidden = None if hidden is None else hidden.to(device)
        with span(f"layers, {len(batch.tokens)} tokens"):
            return self.decoder.forward(batch, self.caches, hidden)

    def answer(self, work: Work, hidden: Tensor) -> Answer:
        """What the last layers' hidden states (T, C) say."""
        found: Sequence[Sampled] = ()
        if work.rows:
            # Choosing rows takes time for each: not while everybody is decoding.
            all_rows = len(work.rows) == len(hidden) and work.rows == tuple(range(len(hidden)))
            with span("choose tokens"):
                found = sample(self.decoder.logits(hidden if all_rows else hidden[list(work.rows)]), work.picks)
        return Answer(found, [self._prompt_logprobs(ask, hidden) for ask in work.prompts])

    def _prompt_logprobs(self, ask: PromptAsk, hidden: Tensor) -> list[TokenLogprobs]:
        found: list[TokenLogprobs] = []
        for at in range(0, len(ask.following), PROMPT_LOGPROB_ROWS):
            wanted = ask.following[at : at + PROMPT_LOGPROB_ROWS]
            logits = self.decoder.logits(hidden[ask.start + at : ask.start + at + len(wanted)])
            found += prompt_logprobs(logits, torch.tensor(wanted), ask.top)
        return found

    @property
    def cache_bytes(self) -> int:
        """What the caches may grow to."""
        return sum(part.nbytes for cache in self.caches for part in (cache.keys, cache.values))


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch's tensors on another device."""
    moved: dict[str, Tensor] = {field.name: getattr(batch, field.name).to(device) for field in fields(batch)}
    return replace(batch, **moved)
