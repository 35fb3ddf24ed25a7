"""The baseline as Ray Serve applications: a deployment for each task, reached through Serve's own proxy.

Each takes the request itself, without a front door and a call behind it. They speak just enough of the APIs that
Stageline has for the same clients to ask both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.benchmark.baseline_models import PlainClassifier, PlainGenerator, PlainTranslator

# More than ask: who waits, waits in the replica, which answers one after the other. Where Serve's router holds requests
# back, it looks again only after up to half a second, and the replica idles meanwhile.
WAITING = 1000


class Generation:
    """`POST /v1/completions`: one prompt, greedy, answered in one piece."""

    def __init__(self, path: Path, threads: int, most: int) -> None:
        self._model = PlainGenerator(path, threads, most)

    async def __call__(self, request: Request) -> Response:
        if request.method == "GET":
            return facts(self._model.tried_s)
        body = await request.json()
        if not isinstance(body.get("prompt"), str) or body.get("stream") or body.get("temperature", 0) > 0:
            return refusal("This baseline continues one text, greedily, and answers in one piece.")
        prompt, tokens = self._model.complete(
            body["prompt"], body.get("max_tokens", 16), ignore_eos=bool(body.get("ignore_eos"))
        )
        ended = "length" if len(tokens) >= body.get("max_tokens", 16) else "stop"
        choice = {"index": 0, "text": self._model.text(tokens), "logprobs": None, "finish_reason": ended}
        return JSONResponse(
            {"object": "text_completion", "created": int(time.time()), "model": body.get("model"), "choices": [choice]}
            | {"usage": usage(len(prompt), len(tokens))}
        )


class Classification:
    """`POST /classify`: one text, or one after another."""

    def __init__(self, path: Path, threads: int, most: int) -> None:
        self._model = PlainClassifier(path, threads, most)

    async def __call__(self, request: Request) -> Response:
        if request.method == "GET":
            return facts(self._model.tried_s)
        body = await request.json()
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        found = [self._model.classify(text) for text in texts]
        data = [
            {"index": index, "label": label, "probs": probs, "num_classes": len(probs)}
            for index, (label, probs, _) in enumerate(found)
        ]
        return JSONResponse(
            {"object": "list", "created": int(time.time()), "model": body.get("model"), "data": data}
            | {"usage": usage(sum(size for *_, size in found), 0)}
        )


class Translation:
    """`POST /translate`: one sentence, or one after another."""

    def __init__(self, path: Path, threads: int, most: int) -> None:
        self._model = PlainTranslator(path, threads, most)

    async def __call__(self, request: Request) -> Response:
        if request.method == "GET":
            return facts(self._model.tried_s)
        body = await request.json()
        if isinstance(body["q"], str):
            return JSONResponse({"translatedText": self._model.translate(body["q"])})
        return JSONResponse({"translatedText": [self._model.translate(sentence) for sentence in body["q"]]})


class Health:
    """`GET /health`."""

    async def __call__(self, request: Request) -> Response:
        return Response()


def facts(tried_s: Mapping[int, float]) -> JSONResponse:
    """What a replica says of itself when its route is asked by GET: its threads, and the seconds that it took with
    others."""
    return JSONResponse({"threads": torch.get_num_threads(), "tried_s": tried_s, "torch": torch.__version__})


def refusal(message: str) -> JSONResponse:
    """OpenAI's error object."""
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status_code=400)


def usage(prompt: int, answer: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


HEALTH = "health"
ROUTES = {  # by task: where it is asked, and what answers
    "text-generation": ("/v1/completions", Generation),
    "text-classification": ("/classify", Classification),
    "translation": ("/translate", Translation),
}


def targets(
    models: Mapping[str, Path], *, threads: int, most: int, replicas: int, cpus: int = 0
) -> list[serve.RunTarget]:
    """What Serve is to run for the models' files, by task. Raises KeyError for a task that it does not know.

    Each takes `threads` threads, with 0 as many as are the fastest of up to `most`. There is at most one replica of
    each on a node, and only one task is asked at a time, so that none claims CPUs of Ray's unless `cpus` says so.
    """
    found = []
    for task, path in models.items():
        route, kind = ROUTES[task]
        target = _deployment(kind, replicas, cpus).bind(path, threads, most)
        found.append(serve.RunTarget(target=target, name=task, route_prefix=route))
    return found


def health() -> serve.RunTarget:
    """To be run when the others are ready, which it then tells."""
    return serve.RunTarget(target=_deployment(Health, 1).bind(), name=HEALTH, route_prefix="/health")


def _deployment(kind: type[Any], replicas: int, cpus: int = 0) -> serve.Deployment:
    wrapped = serve.deployment(
        num_replicas=replicas,
        max_ongoing_requests=WAITING,
        max_replicas_per_node=1,
        ray_actor_options={"num_cpus": cpus},
    )
    deployment: serve.Deployment = wrapped(kind)
    return deployment
