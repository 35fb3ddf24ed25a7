"""What all parts of the configuration have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from deployments.sizes import parse_size

Size = Annotated[int, BeforeValidator(parse_size)]


class Section(BaseModel):
    """A part of the file: only known keys, of exactly the types that they have."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def items(value: object) -> tuple[Any, ...]:
    """YAML gives lists; a tuple is what a frozen object can hold."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError("a list with at least one item is needed here")
    return tuple(value)


def refuse_twice(what: str, names: list[str]) -> None:
    """Raises ValueError for a name that is there more than once."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} '{twice[0]}' is there twice")
