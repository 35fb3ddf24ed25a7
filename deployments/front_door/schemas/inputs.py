"""Forms in which texts are sent, brought to one: a tuple of texts, pairs of texts and lists of token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from deployments.front_door.schemas.base import RoutedBody
from deployments.front_door.schemas.generation import MAX_COUNT

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that are judged together, a question and an answer, say."""

    first: str
    second: str


Item = str | Tokens | Pair

STRING = {"type": "string"}
_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}}


def list_of(*kinds: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": kinds[0] if len(kinds) == 1 else {"anyOf": list(kinds)}}


def is_token(value: object) -> bool:
    """Whether it may be a token id: JSON's true and false are no numbers."""
    return type(value) is int


def items(value: object) -> tuple[Item, ...]:
    """The forms that OpenAI and vLLM take. Raises ValueError."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and value:
        if is_token(value[0]):
            if all(map(is_token, value)):
                return (tuple(value),)
        else:
            found = [item if isinstance(item, str) else _token_list(item) for item in value]
            if None not in found:
                return tuple(item for item in found if item is not None)
    raise ValueError("must be a string, a list of strings, a list of token ids or a list of lists of token ids")


def _token_list(value: object) -> Tokens | None:
    return tuple(value) if isinstance(value, list) and value and all(map(is_token, value)) else None


Items = Annotated[
    tuple[Any, ...],
    BeforeValidator(items),
    WithJsonSchema({"anyOf": [STRING, list_of(STRING), _TOKENS, list_of(_TOKENS)]}),
]


@dataclass(frozen=True, slots=True)
class Texts:
    """`single` tells that one text was sent as such, and not as a list of one, so that one answer is expected."""

    items: tuple[Item, ...]
    single: bool


def _texts(value: object) -> Texts:
    """The forms of text-embeddings-inference's `/predict`."""
    if isinstance(value, str):
        return Texts((value,), single=True)
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            if len(value) > 2:
                raise ValueError('a list of strings is one pair of texts; send a batch as [["a"], ["b"], ["c", "d"]]')
            return Texts((_sequence(value),), single=True)
        if all(isinstance(item, list) and all(isinstance(text, str) for text in item) for item in value):
            return Texts(tuple(map(_sequence, value)), single=False)
    raise ValueError('must be a string, a pair ["a", "b"], or a batch [["a"], ["b", "c"]] of texts and pairs')


def _sequence(texts: list[str]) -> str | Pair:
    if len(texts) == 1:
        return texts[0]
    if len(texts) == 2:
        return Pair(texts[0], texts[1])
    raise ValueError(f"each entry of a batch is one text or a pair of texts, not {len(texts)}")


PredictInputs = Annotated[
    Any,
    BeforeValidator(_texts),
    WithJsonSchema(
        {
            "anyOf": [
                STRING,
                {**list_of(STRING), "minItems": 1, "maxItems": 2},
                list_of({**list_of(STRING), "minItems": 1, "maxItems": 2}),
            ]
        }
    ),
]


class EncoderBody(RoutedBody):
    """What `/classify` and `/v1/embeddings` share: vLLM's fields for models that read a text and write none.

    `truncate_prompt_tokens` keeps so many tokens of each text, special ones included; -1 means as many as the model
    takes.
    """

    model: str | None = None
    input: Items
    add_special_tokens: bool = True
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=MAX_COUNT)] | None = None
    truncation_side: Literal["left", "right"] = "right"
    priority: Annotated[int, Field(ge=-MAX_COUNT, le=MAX_COUNT)] = 0


def _side(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class TeiBody(RoutedBody):
    """What text-embeddings-inference's endpoints share; `model` and `priority` are extensions."""

    model: str | None = None
    truncate: bool = False
    truncation_direction: Annotated[Literal["left", "right"], BeforeValidator(_side)] = "right"
    priority: Annotated[int, Field(ge=-MAX_COUNT, le=MAX_COUNT)] = 0
