"""How a translation model wants to be decoded where a request says nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from engine.checkpoint import Checkpoint
from engine.seq2seq.request import Decoding

log = logging.getLogger(__name__)

LONGEST = 512  # generated tokens where the files do not bound them


def read_defaults(checkpoint: Checkpoint, pairs: Sequence[tuple[str, str]], max_positions: int | None) -> Decoding:
    """From generation_config.json, else config.json, else the task's parameters in it; never beyond the positions that
    the model has. What is not understood is left at the ordinary value."""
    settings = {**_task(checkpoint.config, pairs), **_known(checkpoint.config), **_known(checkpoint.generation_config)}

    def number(key: str, least: float, default: float) -> float:
        value = settings.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return default
        return float(value) if value >= least else default

    longest = number("max_new_tokens", 1, 0) or number("max_length", 2, LONGEST + 1) - 1
    beams = int(number("num_beams", 1, 1))
    return Decoding(
        max_tokens=int(min(longest, max_positions or longest)),
        min_tokens=int(number("min_length", 0, 0)),
        beams=beams,
        length_penalty=float(number("length_penalty", -100, 1.0)),
        early_stopping=_early_stopping(settings.get("early_stopping")),
        repetition_penalty=float(number("repetition_penalty", 1e-3, 1.0)),
        no_repeat_ngram=int(number("no_repeat_ngram_size", 0, 0)),
        first_token=_token(settings.get("forced_bos_token_id")),
        force_end=settings.get("forced_eos_token_id") is not None,
        forbidden=_forbidden(settings.get("bad_words_ids"), checkpoint),
    )


_LENGTHS = ("max_new_tokens", "max_length", "min_length")
_SEARCH = ("num_beams", "length_penalty", "early_stopping", "repetition_penalty", "no_repeat_ngram_size")
_TOKENS = ("forced_bos_token_id", "forced_eos_token_id", "bad_words_ids")
_KEYS = frozenset((*_LENGTHS, *_SEARCH, *_TOKENS))


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key in _KEYS and value is not None}


def _task(config: Mapping[str, Any], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """T5's own settings for translating, which are the same for all its pairs."""
    tasks = config.get("task_specific_params")
    for source, target in pairs[:1]:
        found = tasks.get(f"translation_{source}_to_{target}") if isinstance(tasks, Mapping) else None
        if isinstance(found, Mapping):
            return _known(found)
    return {}


def _early_stopping(value: object) -> bool | Literal["never"]:
    return "never" if value == "never" else value is True


def _token(value: object) -> int | None:
    return value if type(value) is int else None


def _forbidden(value: object, checkpoint: Checkpoint) -> tuple[int, ...]:
    words = value if isinstance(value, list) else []
    single = [word[0] for word in words if isinstance(word, list) and len(word) == 1 and type(word[0]) is int]
    if len(single) < len(words):
        log.warning("%s: bad_words_ids of several tokens are not kept", checkpoint.path)
    return tuple(dict.fromkeys(single))
