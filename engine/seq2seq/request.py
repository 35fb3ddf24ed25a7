"""What goes into the encoder-decoder's engine and what comes out: plain, frozen, picklable data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to choose the target's tokens; the meanings are those of `transformers`' generation parameters.

    `beams` 1 with `temperature` 0 is greedy, with a higher temperature sampling; more beams are beam search.
    `hypotheses` (at most `beams`, or with sampling any number) are returned, best first, fewer where a search finds no
    more. `max_tokens` and `min_tokens` count generated tokens, end token included, start token not. `first_token` is
    forced (a target language, say), and with `force_end` the end token where `max_tokens` are reached. `forbidden`
    tokens are never chosen. Draws depend on (seed, hypothesis, position) only.
    """

    max_tokens: int
    min_tokens: int = 0
    beams: int = 1
    hypotheses: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    first_token: int | None = None
    force_end: bool = False
    forbidden: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TranslateRequest:
    """One sentence: `source` tokens with their special tokens. Times and priority as in the other engines."""

    id: str
    source: tuple[int, ...]
    decoding: Decoding
    priority: int = 0
    arrival_s: float = 0.0
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Generated tokens without start and end token; `score` as `transformers` has it: sum of log-probabilities over
    length ** length_penalty, end token counted."""

    tokens: tuple[int, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Translated:
    """The end of a request: `hypotheses`, best first, or an `error`.

    `queue_s` is until the encoder began, `run_s` from there to the end; `steps` are the decoder steps it took part in.
    """

    hypotheses: tuple[Hypothesis, ...] = ()
    queue_s: float = 0.0
    run_s: float = 0.0
    steps: int = 0
    error: Exception | None = None

    @property
    def finished(self) -> bool:
        """Nothing follows: a request is answered in one piece."""
        return True
