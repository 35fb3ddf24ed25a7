"""What a translation request must be like to be served."""

from __future__ import annotations

from typing import Protocol

from engine.errors import InvalidRequest
from engine.seq2seq.request import Decoding, TranslateRequest
from engine.seq2seq.sentence import method_of

MAX_BEAMS = 64
MAX_HYPOTHESES = 64


class Bounds(Protocol):
    """The limits that a single request has to keep; see `Seq2SeqLimits`."""

    @property
    def max_model_len(self) -> int: ...

    @property
    def max_new_tokens(self) -> int: ...

    @property
    def max_batch_tokens(self) -> int: ...

    @property
    def slots(self) -> int: ...


def check_request(request: TranslateRequest, bounds: Bounds, source_vocabulary: int, target_vocabulary: int) -> None:
    """Raises InvalidRequest for what can never succeed."""
    source, decoding = request.source, request.decoding
    if not source:
        raise InvalidRequest("the text is empty", param="q")
    if len(source) > bounds.max_model_len:
        raise InvalidRequest(
            f"a sentence has {len(source)} tokens; the model takes {bounds.max_model_len}. Shorten it, or split it.",
            param="q",
        )
    if not 0 <= min(source) <= max(source) < source_vocabulary:
        raise InvalidRequest(f"token ids of the source go from 0 to {source_vocabulary - 1}", param="q")
    check_decoding(decoding, bounds, target_vocabulary)
    rows = method_of(decoding)[1]
    if len(source) + rows * decoding.max_tokens > bounds.slots:
        raise InvalidRequest(
            f"{rows} hypotheses of {decoding.max_tokens} tokens do not fit into the cache, which holds {bounds.slots} "
            "tokens. Ask for fewer beams or a smaller max_tokens.",
            param="max_tokens",
        )


def check_decoding(decoding: Decoding, bounds: Bounds, vocabulary: int) -> None:
    """Raises InvalidRequest for parameters out of range or that contradict each other."""
    if not 1 <= decoding.max_tokens <= bounds.max_new_tokens:
        raise InvalidRequest(
            f"max_tokens must be from 1 to {bounds.max_new_tokens}, not {decoding.max_tokens}", param="max_tokens"
        )
    if not 0 <= decoding.min_tokens <= decoding.max_tokens:
        raise InvalidRequest("min_tokens must be from 0 to max_tokens", param="min_tokens")
    if not 1 <= decoding.beams <= min(MAX_BEAMS, bounds.max_batch_tokens, max(vocabulary // 4, 1)):
        raise InvalidRequest(f"beams must be from 1 to {MAX_BEAMS}, not {decoding.beams}", param="beams")
    drawn = decoding.beams == 1 and decoding.temperature > 0
    most = min(MAX_HYPOTHESES, bounds.max_batch_tokens) if drawn else decoding.beams
    if not 1 <= decoding.hypotheses <= most:
        raise InvalidRequest(
            f"hypotheses must be from 1 to {most}, not {decoding.hypotheses}; without sampling there are as many as "
            "beams",
            param="hypotheses",
        )
    if decoding.beams > 1 and decoding.temperature > 0:
        raise InvalidRequest("beam search draws nothing: set temperature to 0, or beams to 1", param="temperature")
    if not decoding.temperature >= 0 or not 0 < decoding.top_p <= 1 or not 0 <= decoding.min_p <= 1:
        raise InvalidRequest("temperature is at least 0, top_p above 0 up to 1, min_p from 0 to 1", param="temperature")
    if decoding.top_k < 0 or decoding.no_repeat_ngram < 0 or not decoding.repetition_penalty > 0:
        raise InvalidRequest(
            "top_k and no_repeat_ngram are at least 0, repetition_penalty is above 0", param="repetition_penalty"
        )
    if not abs(decoding.length_penalty) <= 100:  # as a power of the length it must stay a number
        raise InvalidRequest("length_penalty must be from -100 to 100", param="length_penalty")
    named = [*decoding.forbidden, *(() if decoding.first_token is None else (decoding.first_token,))]
    if named and not 0 <= min(named) <= max(named) < vocabulary:
        raise InvalidRequest(f"token ids of the target go from 0 to {vocabulary - 1}", param="forbidden")
