"""The body of `/translate`: LibreTranslate's fields, and how to decode."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from deployments.front_door.schemas.base import RoutedBody
from deployments.front_door.schemas.generation import MAX_COUNT, Count
from deployments.front_door.schemas.inputs import STRING, Texts, list_of


def _texts(value: object) -> Texts:
    if isinstance(value, str):
        if not value:
            raise ValueError("is empty: there is nothing to translate")
        return Texts((value,), single=True)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return Texts(tuple(value), single=False)
    raise ValueError("must be a string or a list of strings")


def _early_stopping(value: object) -> object:
    if isinstance(value, bool) or value == "never":
        return value
    raise ValueError('must be true, false or "never"')


EarlyStopping = Annotated[bool | Literal["never"], BeforeValidator(_early_stopping)]


class TranslateBody(RoutedBody):
    """`source` is a language code, or "auto" where only one language can be meant. None means the model's default.

    `beams` and what follows are extensions; their meanings are those of transformers' generation parameters.
    """

    q: Annotated[Any, BeforeValidator(_texts), WithJsonSchema({"anyOf": [STRING, list_of(STRING)]})]
    source: str
    target: str
    format: Literal["text", "html"] = "text"
    alternatives: Count = 0

    model: str | None = None
    beams: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None
    length_penalty: Annotated[float, Field(ge=-10, le=10)] | None = None
    early_stopping: EarlyStopping | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None
    min_tokens: Count | None = None
    no_repeat_ngram_size: Count | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=MAX_COUNT)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    priority: Annotated[int, Field(ge=-MAX_COUNT, le=MAX_COUNT)] = 0

    ignored: ClassVar[frozenset[str]] = frozenset({"api_key"})
    texts: ClassVar[frozenset[str]] = frozenset({"q", "source", "target", "format", "model", "variant_policy"})
