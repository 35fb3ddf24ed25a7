"""Logprobs in OpenAI's two formats: lists of objects for chat, parallel lists for completions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deployments.front_door.text_state import TokenEntry
from engine.text.tokenizer import Tokenizer

FLOOR = -9999.0
"""Stands for minus infinity, which JSON cannot express."""


def token_name(tokenizer: Tokenizer, token: int) -> str:
    """A token's text, or its bytes where they are not whole characters."""
    raw = tokenizer.token_bytes(token)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def chat_logprobs(tokenizer: Tokenizer, entries: Iterable[TokenEntry]) -> dict[str, Any]:
    """`choices[].logprobs` of a chat completion."""

    def one(token: int, logprob: float) -> dict[str, Any]:
        raw = tokenizer.token_bytes(token)
        return {"token": token_name(tokenizer, token), "logprob": max(FLOOR, logprob), "bytes": list(raw)}

    content = [
        {
            **one(entry.token, FLOOR if entry.logprob is None else entry.logprob),
            "top_logprobs": [one(token, logprob) for token, logprob in entry.top],
        }
        for entry in entries
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokenizer: Tokenizer, entries: Iterable[TokenEntry]) -> dict[str, Any]:
    """`choices[].logprobs` of a completion. The chosen token is always among its `top_logprobs`, as an extra one when
    it was not likely enough. The prompt's first token has null for both, since nothing predicts it."""
    text_offset: list[int] = []
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] = []
    for entry in entries:
        name = token_name(tokenizer, entry.token)
        text_offset.append(entry.offset)
        tokens.append(name)
        if entry.logprob is None:
            token_logprobs.append(None)
            top_logprobs.append(None)
            continue
        token_logprobs.append(max(FLOOR, entry.logprob))
        top = {token_name(tokenizer, token): max(FLOOR, logprob) for token, logprob in entry.top}
        top.setdefault(name, max(FLOOR, entry.logprob))
        top_logprobs.append(top)
    return {
        "text_offset": text_offset,
        "token_logprobs": token_logprobs,
        "tokens": tokens,
        "top_logprobs": top_logprobs,
    }
