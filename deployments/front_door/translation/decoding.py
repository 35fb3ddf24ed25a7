"""From a checked body to how the engine decodes."""

from __future__ import annotations

from dataclasses import replace

from deployments.front_door.sampling import GREEDY_BELOW, draw_seed
from deployments.front_door.schemas.translate import TranslateBody
from deployments.front_door.service import Limits
from engine.errors import InvalidRequest
from engine.seq2seq.request import Decoding


def decoding_of(body: TranslateBody, defaults: Decoding, limits: Limits) -> Decoding:
    """The model's own decoding with what the caller asks for. Alternatives come from further beams, or from further
    samples. The seed is set for each sentence later. Raises `InvalidRequest`."""
    hypotheses = body.alternatives + 1
    for param, count, limit in (
        ("beams", body.beams or 1, limits.max_beams),
        ("alternatives", body.alternatives, limits.max_beams - 1),
    ):
        if count > limit:
            raise InvalidRequest(f"'{param}' asks for {count:,}; the limit is {limit:,}.", param=param)
    temperature = defaults.temperature if body.temperature is None else body.temperature
    sampled = temperature >= GREEDY_BELOW and not (body.temperature is None and body.beams)
    beams = 1
    if sampled:
        if body.beams is not None and body.beams > 1:
            raise InvalidRequest(
                "'temperature' above 0 draws at random, and 'beams' above 1 searches. Choose one.", param="temperature"
            )
    else:
        beams = body.beams or max(defaults.beams, hypotheses)
        if hypotheses > beams:
            raise InvalidRequest(
                f"{body.alternatives} alternatives need at least {hypotheses} beams. Raise 'beams', or leave it out.",
                param="alternatives",
            )
    max_tokens = defaults.max_tokens if body.max_tokens is None else min(body.max_tokens, defaults.max_tokens)
    min_tokens = defaults.min_tokens if body.min_tokens is None else body.min_tokens
    if body.min_tokens is not None and min_tokens > max_tokens:
        raise InvalidRequest(f"'min_tokens' is {min_tokens}, over 'max_tokens': {max_tokens}.", param="min_tokens")
    chosen = {
        "length_penalty": body.length_penalty,
        "early_stopping": body.early_stopping,
        "repetition_penalty": body.repetition_penalty,
        "no_repeat_ngram": body.no_repeat_ngram_size,
        "top_k": None if body.top_k is None else max(0, body.top_k),
        "top_p": body.top_p,
        "min_p": body.min_p,
    }
    return replace(
        defaults,
        beams=beams,
        hypotheses=hypotheses,
        temperature=temperature if sampled else 0.0,
        seed=draw_seed(body.seed) if sampled else 0,
        max_tokens=max_tokens,
        min_tokens=min(min_tokens, max_tokens),
        **{name: value for name, value in chosen.items() if value is not None},  # type: ignore[arg-type]
    )
