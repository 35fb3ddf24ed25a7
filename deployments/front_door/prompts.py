"""Prompts as tokens: chat templates, tokenizing, and whether the model's context has room for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.front_door.errors import ContextTooLong
from deployments.front_door.schemas.chat import Message
from deployments.front_door.schemas.completions import CompletionBody
from deployments.front_door.served_models import GenerationModel, longest_token
from deployments.front_door.service import Limits
from engine.errors import InvalidRequest
from engine.text import chat_template

LARGE_TEXT = 8 << 10
"""Texts over this many characters are tokenized in a thread, so that other streams go on meanwhile."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """`text` is the caller's own, or None where token ids were sent; `echo` shows it."""

    tokens: tuple[int, ...]
    text: str | None = None


async def completion_prompts(model: GenerationModel, body: CompletionBody, limits: Limits) -> list[Prompt]:
    """Tokenize each prompt of a completion. Raises `InvalidRequest`."""
    count = len(body.prompt) * body.n
    if count > limits.max_sequences:
        raise InvalidRequest(
            f"{len(body.prompt):,} prompts with n = {body.n} make {count:,} answers; "
            f"the limit is {limits.max_sequences:,}.",
            param="prompt",
        )
    several = len(body.prompt) > 1
    prompts = []
    for position, item in enumerate(body.prompt):
        param = f"prompt[{position}]" if several else "prompt"
        if isinstance(item, str):
            refuse_hopeless(model, item, param)
            tokens = await tokenize(model, item, body.add_special_tokens)
        else:
            tokens = _known_tokens(model, item, param)
        check_room(model, len(tokens), param)
        prompts.append(Prompt(tokens, item if isinstance(item, str) else None))
    return prompts


def _known_tokens(model: GenerationModel, tokens: Sequence[int], param: str) -> tuple[int, ...]:
    if tokens and not 0 <= min(tokens) <= max(tokens) < model.vocab_size:
        raise InvalidRequest(f"'{param}' has a token id outside 0 to {model.vocab_size - 1}.", param=param)
    return tuple(tokens)


async def chat_prompt(
    model: GenerationModel,
    messages: Sequence[Message],
    limits: Limits,
    *,
    add_generation_prompt: bool = True,
    add_special_tokens: bool = False,
    extra: Mapping[str, Any] | None = None,
    to_generate: bool = True,
) -> Prompt:
    """Render the chat template and tokenize it. Raises `InvalidRequest`, also for messages that cannot fit the context;
    with `to_generate`, for all that leave no room for an answer."""
    if model.chat_template is None:
        raise InvalidRequest(
            f"The model '{model.name}' has no chat template. Use /v1/completions with a prompt.", param="messages"
        )
    if not 0 < len(messages) <= limits.max_messages:
        raise InvalidRequest(
            f"'messages' must hold 1 to {limits.max_messages:,} messages, not {len(messages):,}.", param="messages"
        )
    template = model.chat_template

    def render() -> str:
        return chat_template.render(
            template,
            [message.for_template() for message in messages],
            special_tokens=model.tokenizer.special_tokens,
            add_generation_prompt=add_generation_prompt,
            extra=dict(extra) if extra else None,
        )

    size = sum(len(message.content) for message in messages)
    large = size > LARGE_TEXT or len(messages) > 256
    text = await asyncio.to_thread(render) if large else render()
    refuse_hopeless(model, text, "messages")
    tokens = await tokenize(model, text, add_special_tokens)
    if to_generate:
        check_room(model, len(tokens), "messages")
    return Prompt(tokens)


async def tokenize(model: GenerationModel, text: str, add_special_tokens: bool) -> tuple[int, ...]:
    """Tokens of a text, made in a thread when it is long."""
    if len(text) <= LARGE_TEXT:
        return tuple(model.tokenizer.encode(text, add_special_tokens))
    return tuple(await asyncio.to_thread(model.tokenizer.encode, text, add_special_tokens))


def refuse_hopeless(model: GenerationModel, text: str, param: str) -> None:
    """Raise `InvalidRequest` for a text that cannot fit the context however it is tokenized: no token covers more
    characters than the longest one, so the work can be spared."""
    if len(text) > LARGE_TEXT and len(text) > model.max_model_len * longest_token(model.tokenizer):
        raise ContextTooLong(
            f"'{param}' has {len(text):,} characters, far over this model's context of "
            f"{model.max_model_len:,} tokens. Shorten it.",
            param=param,
        )


def check_room(model: GenerationModel, length: int, param: str) -> None:
    """Raise `InvalidRequest` for an empty prompt, or one that leaves no room to generate a token."""
    if length == 0:
        raise InvalidRequest(f"'{param}' is empty: it has no tokens to continue from.", param=param)
    if length >= model.max_model_len:
        raise ContextTooLong(
            f"'{param}' has {length:,} tokens; this model's context is {model.max_model_len:,} tokens, "
            "of which at least one is for the answer. Shorten it.",
            param=param,
        )
