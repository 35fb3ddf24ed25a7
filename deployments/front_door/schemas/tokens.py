"""The bodies of `/tokenize` and `/detokenize`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from deployments.front_door.schemas.base import Body
from deployments.front_door.schemas.chat import Message
from deployments.front_door.schemas.generation import Count


class TokenizeBody(Body):
    """Either a `prompt` or chat `messages`. `add_special_tokens` is on for a prompt and off for messages, whose
    template writes the special tokens itself."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    return_token_strs: bool = False

    @model_validator(mode="after")
    def _one_form(self) -> TokenizeBody:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("Send either 'prompt' or 'messages'")
        return self


class DetokenizeBody(Body):
    model: str | None = None
    tokens: list[Count]
