"""The body of `/v1/completions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from deployments.front_door.schemas.generation import Count, GenerationBody

PromptItem = str | tuple[int, ...]


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _prompts(value: object) -> object:
    """Bring the four forms of a prompt to one: a tuple of texts and token lists."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            return tuple(value)
        if all(_is_token(item) for item in value):
            return (tuple(value),)
        if all(isinstance(item, list) and item and all(_is_token(token) for token in item) for item in value):
            return tuple(tuple(item) for item in value)
    raise ValueError("must be a string, a list of strings, a list of token ids or a list of lists of token ids")


class CompletionBody(GenerationBody):
    """`logprobs` is the number of alternatives to report beside each token."""

    prompt: Annotated[tuple[PromptItem, ...], BeforeValidator(_prompts)]
    max_tokens: Count | None = 16
    echo: bool = False
    logprobs: Count | None = None
    add_special_tokens: bool = True

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **GenerationBody.unsupported,
        "best_of": (1,),
        "prompt_embeds": (),
        "suffix": ("",),
    }
