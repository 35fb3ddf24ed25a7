"""The body of `/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from deployments.front_door.schemas.base import Strict
from deployments.front_door.schemas.generation import Count, GenerationBody


def _text(value: object) -> str:
    """Bring content, a string or a list of text parts, to one string."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of text parts")
    texts = []
    for position, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            shown = f"type '{kind[:40]}'" if isinstance(kind, str) else "no known type"
            raise ValueError(f"part {position} has {shown}; models here take only parts of type 'text'")
        if not isinstance(part.get("text"), str):
            raise ValueError(f"part {position} has no 'text' string")
        texts.append(part["text"])
    return "\n".join(texts)


class Message(Strict):
    """One turn. Fields beyond OpenAI's reach the chat template, as they do in transformers."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_text)] = ""
    name: str | None = None

    @model_validator(mode="after")
    def _only_text(self) -> Message:
        for field in ("tool_calls", "function_call", "audio"):
            if (self.model_extra or {}).get(field):
                raise ValueError(f"'{field}' is not supported by this server; send text")
        if self.role != "assistant" and "content" not in self.model_fields_set:
            raise ValueError("the message has no 'content'")
        return self

    def for_template(self) -> dict[str, Any]:
        """As chat templates expect it; to them, OpenAI's `developer` is the `system` they know."""
        fields = self.model_dump(exclude_none=True)
        return {**fields, "role": "system"} if self.role == "developer" else fields


class ChatPrompt(Strict):
    """How messages become a prompt; `/tokenize` takes the same."""

    messages: list[Message]
    add_generation_prompt: bool = True
    add_special_tokens: bool = False
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)


class ChatBody(ChatPrompt, GenerationBody):
    """`logprobs` switches them on, `top_logprobs` is the number of alternatives beside each token."""

    max_completion_tokens: Count | None = None
    logprobs: bool = False
    top_logprobs: Count = 0

    ignored: ClassVar[frozenset[str]] = GenerationBody.ignored | {
        "parallel_tool_calls",
        "reasoning_effort",
        "verbosity",
    }
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **GenerationBody.unsupported,
        "audio": (),
        "chat_template": (),
        "continue_final_message": (False,),
        "documents": ([],),
        "echo": (False,),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "include_reasoning": (True, False),
        "mm_processor_kwargs": ({},),
        "modalities": (["text"],),
        "moderation": (),
        "prediction": (),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "web_search_options": (),
    }
