"""`POST /tokenize` and `POST /detokenize`, as vLLM has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic_core import to_json

from deployments.front_door.body import json_body
from deployments.front_door.errors import ContextTooLong
from deployments.front_door.openapi import takes
from deployments.front_door.plan import FrontDoor, find_model
from deployments.front_door.prompts import chat_prompt, refuse_hopeless, tokenize
from deployments.front_door.schemas.tokens import DetokenizeBody, TokenizeBody
from deployments.front_door.served_models import GenerationModel
from engine.errors import InvalidRequest

TokenizeRequest = Annotated[TokenizeBody, Depends(json_body(TokenizeBody))]
DetokenizeRequest = Annotated[DetokenizeBody, Depends(json_body(DetokenizeBody))]

PART = 4096
"""Of a list, what is written at once. Answers of more tokens than this are made in a thread."""


def router(door: FrontDoor) -> APIRouter:
    """The endpoints that turn text to tokens and back, without touching an engine."""
    routes = APIRouter(tags=["tokens"])

    @routes.post("/tokenize", openapi_extra=takes(TokenizeBody))
    async def tokenize_text(request: Request, body: TokenizeRequest) -> Response:
        """Tokens of a prompt, or of messages as the chat template writes them."""
        model = find_model(door.service, request, body.model, GenerationModel).model
        if body.messages is not None:
            prompt = await chat_prompt(
                model,
                body.messages,
                door.service.limits,
                add_generation_prompt=body.add_generation_prompt,
                add_special_tokens=bool(body.add_special_tokens),
                extra=body.chat_template_kwargs,
                to_generate=False,
            )
            tokens = prompt.tokens
        else:
            text = body.prompt or ""
            refuse_hopeless(model, text, "prompt")
            tokens = await tokenize(model, text, body.add_special_tokens is not False)

        def content() -> bytes:
            strings = [model.tokenizer.token_text(token) for token in tokens] if body.return_token_strs else None
            head = to_json({"count": len(tokens), "max_model_len": model.max_model_len})[:-1]
            return b'%s,"tokens":%s,"token_strs":%s}' % (head, written(tokens), written(strings))

        return await _json(content, large=len(tokens) > PART)

    @routes.post("/detokenize", openapi_extra=takes(DetokenizeBody))
    async def detokenize_tokens(request: Request, body: DetokenizeRequest) -> Response:
        """The text of tokens, special ones included."""
        model = find_model(door.service, request, body.model, GenerationModel).model
        if len(body.tokens) > model.max_model_len:
            raise ContextTooLong(
                f"'tokens' has {len(body.tokens):,} ids; this model's context is {model.max_model_len:,} tokens. Send "
                "fewer at a time.",
                param="tokens",
            )
        if body.tokens and max(body.tokens) >= model.vocab_size:
            raise InvalidRequest(f"'tokens' has an id that is not under {model.vocab_size}.", param="tokens")

        def content() -> bytes:
            return to_json({"prompt": model.tokenizer.decode(body.tokens, skip_special_tokens=False)})

        return await _json(content, large=True)

    return routes


async def _json(content: Callable[[], bytes], *, large: bool) -> Response:
    return Response(await asyncio.to_thread(content) if large else content(), media_type="application/json")


def written(values: Sequence[Any] | None) -> bytes:
    """A list as JSON, or null. Part by part, so that a thread leaves the event loop its turns."""
    if values is None:
        return b"null"
    parts = [to_json(values[start : start + PART])[1:-1] for start in range(0, len(values), PART)]
    return b"[" + b",".join(parts) + b"]"
