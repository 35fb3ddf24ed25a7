"""`POST /tokenize` and `POST /detokenize`, as vLLM has them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from deployments.front_door.body import json_body
from deployments.front_door.openapi import takes
from deployments.front_door.plan import FrontDoor, find_model
from deployments.front_door.prompts import chat_prompt, tokenize
from deployments.front_door.schemas.tokens import DetokenizeBody, TokenizeBody
from deployments.front_door.served_models import GenerationModel
from engine.errors import InvalidRequest

TokenizeRequest = Annotated[TokenizeBody, Depends(json_body(TokenizeBody))]
DetokenizeRequest = Annotated[DetokenizeBody, Depends(json_body(DetokenizeBody))]


def router(door: FrontDoor) -> APIRouter:
    """The endpoints that turn text to tokens and back, without touching an engine."""
    routes = APIRouter(tags=["tokens"])

    @routes.post("/tokenize", openapi_extra=takes(TokenizeBody))
    async def tokenize_text(request: Request, body: TokenizeRequest) -> dict[str, Any]:
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
            tokens = await tokenize(model, body.prompt or "", body.add_special_tokens is not False)
        strings = [model.tokenizer.token_text(token) for token in tokens] if body.return_token_strs else None
        return {
            "count": len(tokens),
            "max_model_len": model.max_model_len,
            "tokens": list(tokens),
            "token_strs": strings,
        }

    @routes.post("/detokenize", openapi_extra=takes(DetokenizeBody))
    async def detokenize_tokens(request: Request, body: DetokenizeRequest) -> dict[str, str]:
        """The text of tokens, special ones included."""
        model = find_model(door.service, request, body.model, GenerationModel).model
        if body.tokens and max(body.tokens) >= model.vocab_size:
            raise InvalidRequest(f"'tokens' has an id that is not under {model.vocab_size}.", param="tokens")
        return {"prompt": await asyncio.to_thread(model.tokenizer.decode, body.tokens, skip_special_tokens=False)}

    return routes
