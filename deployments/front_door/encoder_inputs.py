"""Texts for the encoder: limits, tokens, segment ids, and cutting where the caller asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tokenizers import Encoding

from deployments.front_door.errors import ContextTooLong
from deployments.front_door.prompts import LARGE_TEXT
from deployments.front_door.schemas.inputs import Item, Pair
from deployments.front_door.served_models import EmbeddingModel, EncoderModel, longest_token
from deployments.front_door.service import Limits
from engine.errors import InvalidRequest

MANY_TEXTS = 32
"""So many texts are tokenized in a thread, so that other requests go on meanwhile."""

MARGIN = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read texts. `cut_to` tokens are kept of each, special ones included, from the side that is not `cut_from`;
    None refuses what is over the model's length. `param` is the field that they came in."""

    param: str
    add_special_tokens: bool = True
    cut_to: int | None = None
    cut_from: Literal["left", "right"] = "right"


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """`types` are segment ids, () where all are 0."""

    tokens: tuple[int, ...]
    types: tuple[int, ...] = ()


def cut_length(model: EncoderModel, asked: int | None, param: str) -> int | None:
    """vLLM's `truncate_prompt_tokens` as a number of tokens. Raises `InvalidRequest`."""
    if asked is None:
        return None
    if asked > model.max_model_len:
        raise InvalidRequest(
            f"'{param}' is {asked:,}; this model takes at most {model.max_model_len:,} tokens.", param=param
        )
    if asked == 0:
        raise InvalidRequest(f"'{param}' is 0, which leaves nothing. Send at least 1, or -1.", param=param)
    return model.max_model_len if asked == -1 else asked


async def read_inputs(
    model: EncoderModel, items: Sequence[Item], reading: Reading, limits: Limits
) -> list[EncoderInput]:
    """Make tokens of all texts. Raises `InvalidRequest`, which names the text at fault."""
    size = check_sizes(items, reading.param, limits)
    if size > LARGE_TEXT or len(items) >= MANY_TEXTS:
        return await asyncio.to_thread(_read_all, model, items, reading)
    return _read_all(model, items, reading)


def check_sizes(items: Sequence[Item], param: str, limits: Limits) -> int:
    """Characters, and tokens where those were sent, of all texts. Raises `InvalidRequest` for too much of them."""
    if len(items) > limits.max_inputs:
        raise InvalidRequest(
            f"'{param}' holds {len(items):,} texts; the limit is {limits.max_inputs:,}. Send several requests.",
            param=param,
        )
    size = sum(len(item.first) + len(item.second) if isinstance(item, Pair) else len(item) for item in items)
    if size > limits.max_input_characters:
        raise InvalidRequest(
            f"'{param}' has {size:,} characters in all; the limit is {limits.max_input_characters:,}. "
            "Send several requests.",
            param=param,
        )
    return size


def _read_all(model: EncoderModel, items: Sequence[Item], reading: Reading) -> list[EncoderInput]:
    several = len(items) > 1
    return [
        _read(model, item, reading, f"{reading.param}[{position}]" if several else reading.param)
        for position, item in enumerate(items)
    ]


def _read(model: EncoderModel, item: Item, reading: Reading, param: str) -> EncoderInput:
    if isinstance(item, tuple):
        return _given(model, item, reading, param)
    first, second = (item.first, item.second) if isinstance(item, Pair) else (item, None)
    if not first or second == "":
        raise InvalidRequest(f"'{param}' is an empty text.", param=param)
    if isinstance(model, EmbeddingModel):
        first = model.prompt + first
        first = first.lower() if model.lower_case else first
    length = len(first) + len(second or "")
    if reading.cut_to is None and length > LARGE_TEXT:
        _refuse_hopeless(model, length, param)
    if reading.cut_to is not None and length > LARGE_TEXT:
        encoding = _cut(model, first, second, reading, reading.cut_to)
    else:
        encoding = model.tokenizer.backend.encode(first, second, add_special_tokens=reading.add_special_tokens)
        if len(encoding) > (reading.cut_to or model.max_model_len):
            if reading.cut_to is None:
                raise _too_long(model, len(encoding), param)
            encoding = _cut(model, first, second, reading, reading.cut_to)
    if not len(encoding):
        raise InvalidRequest(f"'{param}' has no tokens.", param=param)
    types = () if second is None else tuple(encoding.type_ids)
    return EncoderInput(tuple(encoding.ids), types if any(types) else ())


def _given(model: EncoderModel, tokens: tuple[int, ...], reading: Reading, param: str) -> EncoderInput:
    if not 0 <= min(tokens) <= max(tokens) < model.vocab_size:
        raise InvalidRequest(f"'{param}' has a token id outside 0 to {model.vocab_size - 1}.", param=param)
    if len(tokens) > (reading.cut_to or model.max_model_len):
        if reading.cut_to is None:
            raise _too_long(model, len(tokens), param)
        tokens = tokens[-reading.cut_to :] if reading.cut_from == "left" else tokens[: reading.cut_to]
    return EncoderInput(tokens)


def _cut(model: EncoderModel, first: str, second: str | None, reading: Reading, length: int) -> Encoding:
    """Cut the texts, not the special tokens; of two, the longer one first, as `transformers` does by default."""
    backend = model.tokenizer.backend
    special = backend.num_special_tokens_to_add(second is not None) if reading.add_special_tokens else 0
    room = length - special
    if room < (1 if second is None else 2):
        raise InvalidRequest(
            f"{length} tokens leave no room for text beside this model's {special} special tokens.",
            param=reading.param,
        )
    one = _end(model, first, room, reading)
    if second is None:
        one.truncate(room, direction=reading.cut_from)
        return backend.post_process(one, None, reading.add_special_tokens)
    two = _end(model, second, room, reading)
    keep_one, keep_two = _shares(len(one), len(two), room)
    one.truncate(keep_one, direction=reading.cut_from)
    two.truncate(keep_two, direction=reading.cut_from)
    return backend.post_process(one, two, reading.add_special_tokens)


def _end(model: EncoderModel, text: str, room: int, reading: Reading) -> Encoding:
    """Tokens of the end that is kept, at least `room` of them if the text has so many, without special tokens.

    The rest is not looked at: it may be long, and the tokenizer keeps all that is cut off. Beyond the kept tokens
    there are `MARGIN` others, so that they do not depend on where the text was cut.
    """
    backend = model.tokenizer.backend
    size = (room + MARGIN) * longest_token(model.tokenizer)
    while size < len(text):
        part = text[-size:] if reading.cut_from == "left" else text[:size]
        encoding = backend.encode(part, add_special_tokens=False)
        if len(encoding) >= room + MARGIN:
            return encoding
        size *= 2  # spaces are many, which make no tokens
    return backend.encode(text, add_special_tokens=False)


def _shares(one: int, two: int, room: int) -> tuple[int, int]:
    shorter, longer = min(one, two), max(one, two)
    if one + two > room:
        shorter = min(shorter, room // 2)
        longer = room - shorter
    return (longer, shorter) if one > two else (shorter, longer)


def _refuse_hopeless(model: EncoderModel, length: int, param: str) -> None:
    """No token covers more characters than the longest one, so tokenizing such a text can be spared."""
    if length > model.max_model_len * longest_token(model.tokenizer):
        raise ContextTooLong(
            f"'{param}' has {length:,} characters, far over this model's {model.max_model_len:,} tokens. Shorten it, "
            "or ask for it to be cut.",
            param=param,
        )


def _too_long(model: EncoderModel, length: int, param: str) -> ContextTooLong:
    return ContextTooLong(
        f"'{param}' has {length:,} tokens; this model takes at most {model.max_model_len:,}. Shorten it, or ask for it "
        "to be cut.",
        param=param,
    )
