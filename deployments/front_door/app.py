"""The application: routes, error handlers and middleware around a `Service`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from deployments.front_door.access import Access, public_need
from deployments.front_door.access_metrics import AccessMetrics
from deployments.front_door.errors import handle_http_exception, handle_stageline_error, handle_validation_error
from deployments.front_door.metrics import Metrics
from deployments.front_door.middleware import BodyLimit, BodyPace, RequestContext
from deployments.front_door.openapi import describe_bodies
from deployments.front_door.plan import FrontDoor
from deployments.front_door.routes import (
    chat,
    classify,
    completions,
    console,
    embeddings,
    models,
    operations,
    tokens,
    translate,
)
from deployments.front_door.routing_metrics import RoutingMetrics
from deployments.front_door.same_origin import SameOrigin
from deployments.front_door.schemas.chat import ChatBody
from deployments.front_door.schemas.classify import ClassifyBody, PredictBody
from deployments.front_door.schemas.completions import CompletionBody
from deployments.front_door.schemas.embeddings import EmbedBody, EmbeddingsBody
from deployments.front_door.schemas.tokens import DetokenizeBody, TokenizeBody
from deployments.front_door.schemas.translate import TranslateBody
from deployments.front_door.service import Service
from deployments.front_door.trail.ring import Ring
from deployments.front_door.trail.slow_log import log_slow
from deployments.front_door.trail.texts import TextLog
from engine.errors import StagelineError

BODIES = (
    CompletionBody,
    ChatBody,
    ClassifyBody,
    PredictBody,
    EmbeddingsBody,
    EmbedBody,
    TranslateBody,
    TokenizeBody,
    DetokenizeBody,
)


def create_app(service: Service) -> FastAPI:
    """The front door over `service`, as an ASGI application that knows nothing of Ray. It is `state.door`, from which
    `create_admin_app` makes the operators' application.

    Build it in the process that runs it: it holds locks, so it cannot be pickled. Without keys, `Authorization` headers
    tell callers apart and nothing else.
    """
    door = FrontDoor(service, Metrics(), ring=Ring(slow_s=service.slow_s))
    door.ring.on_end = partial(log_slow, door.ring)
    door.metrics.registry.register(RoutingMetrics(service.models, service.ready))

    @asynccontextmanager
    async def started(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield

    app = FastAPI(title="Stageline", version=service.version, docs_url=None, redoc_url=None, lifespan=started)
    app.state.door = door
    for family in (models, completions, chat, classify, embeddings, translate, tokens, operations):
        app.include_router(family.router(door))
    app.include_router(console.router())
    describe_bodies(app, BODIES)
    app.add_exception_handler(StagelineError, handle_stageline_error)
    app.add_exception_handler(HTTPException, handle_http_exception)
    app.add_exception_handler(RequestValidationError, handle_validation_error)
    app.add_middleware(BodyLimit, max_bytes=service.limits.max_body_bytes)
    if service.log_texts:
        app.add_middleware(TextLog)
    app.add_middleware(BodyPace)
    if service.keys is None:
        app.add_middleware(SameOrigin, own_names=service.own_names)
    else:
        door.metrics.registry.register(AccessMetrics(service.keys))
        app.add_middleware(Access, door=door, keys=service.keys, need=public_need)
    # Added last, so outermost.
    app.add_middleware(RequestContext, ring=door.ring, tracer=service.tracer, keyed=service.keys is not None)
    return app
