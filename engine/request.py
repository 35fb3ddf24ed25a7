"""What goes into the engine and what comes out: plain, frozen, picklable data.

The engine deals in token ids. Text (chat templates, detokenizing, stop strings) is the front door's affair, with the
pieces from `engine/text/`, so that a stream's text state outlives the replica that computes its tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class FinishReason(StrEnum):
    STOP = "stop"  # a stop token; the front door also uses it for stop strings
    LENGTH = "length"  # max_tokens, or the model's context is full
    ABORT = "abort"  # the caller went away
    ERROR = "error"  # see `Delta.error`


@dataclass(frozen=True, slots=True)
class GrammarSpec:
    """What constrained output must match: `source` is a JSON schema, a regular expression, or "" for any object."""

    kind: Literal["json_object", "json_schema", "regex"]
    source: str = ""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens. Values are checked by the front door; the engine relies on them.

    `temperature` 0 is greedy. `top_k` 0 and `top_p` 1 and `min_p` 0 are off. `logprobs` is the number of top
    alternatives to report beside each chosen token (0: only the chosen token's; None: nothing), `prompt_logprobs` the
    same for the prompt's tokens. With equal `seed`, equal tokens: a draw depends on (seed, position) and nothing else.
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    grammar: GrammarSpec | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to generate.

    `generated` are tokens that an earlier run of the same request already produced (a replica died, say): they are
    computed again, not sampled again, and not reported again; they count towards `max_tokens`, penalties, the grammar
    and the random draws' positions. `arrival_s` and `deadline_s` are `time.time()` seconds, comparable across nodes.
    A lower `priority` runs first; within one, first come first served.
    """

    id: str
    prompt: tuple[int, ...]
    sampling: SamplingParams
    generated: tuple[int, ...] = ()
    priority: int = 0
    arrival_s: float = 0.0
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log-probabilities at one position, natural log, after penalties and before temperature and truncation.

    `top` are the most likely (token id, logprob) pairs, best first; `rank` of the chosen token counts from 1.
    """

    token: int
    logprob: float
    rank: int
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent by one request: until its first step, up to the first token, from there to the end."""

    queue_s: float
    prefill_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class Delta:
    """What a request gained since its last delta. The last one of a request has `finish_reason`; nothing follows it.

    A stop token is part of `tokens` (it counts as a completion token) and `finish_reason` tells that it is one.
    `logprobs` runs parallel to `tokens` when asked for. `prompt_logprobs` come once, with the first delta; its first
    entry is None, for nothing predicts the first token. `cached_tokens` counts the prompt's tokens that came from the
    prefix cache; it is set from the first delta on. `timings` come with the last delta, and with the first as far as
    they are known by then: should the replica be lost in between, nobody else knows them.
    """

    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()
    prompt_logprobs: tuple[TokenLogprobs | None, ...] = ()
    cached_tokens: int = 0
    timings: Timings | None = None
    error: Exception | None = None

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    def __reduce__(self) -> tuple[type[Delta], tuple[object, ...]]:
        # What dataclasses do by themselves takes twice as long, and one of these travels for every token.
        return Delta, (
            self.tokens,
            self.finish_reason,
            self.logprobs,
            self.prompt_logprobs,
            self.cached_tokens,
            self.timings,
            self.error,
        )
