"""The operators' application: what is not for callers. It listens at a port of its own, by default at loopback only."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from deployments.front_door.access import Access, admin_need
from deployments.front_door.admin_routes import profile, requests, stacks
from deployments.front_door.errors import handle_http_exception, handle_stageline_error, handle_validation_error
from deployments.front_door.middleware import BodyLimit, BodyPace, RequestContext
from deployments.front_door.plan import FrontDoor
from deployments.front_door.routes import operations
from deployments.front_door.same_origin import SameOrigin
from engine.errors import StagelineError


def create_admin_app(door: FrontDoor) -> FastAPI:
    """Of the same front door that answers callers: probes, `/metrics` and `/status`, as there, and `/admin/...`.
    With API keys, `/admin/...` needs one of scope admin."""
    app = FastAPI(title="Stageline's operators", version=door.service.version, docs_url=None, redoc_url=None)
    for family in (operations, requests, profile, stacks):
        app.include_router(family.router(door))
    app.add_exception_handler(StagelineError, handle_stageline_error)
    app.add_exception_handler(HTTPException, handle_http_exception)
    app.add_exception_handler(RequestValidationError, handle_validation_error)
    app.add_middleware(BodyLimit, max_bytes=door.service.limits.max_body_bytes)
    app.add_middleware(BodyPace)
    if door.service.keys is None:
        app.add_middleware(SameOrigin, own_names=door.service.own_names)
    else:
        app.add_middleware(Access, door=door, keys=door.service.keys, need=admin_need)
    app.add_middleware(RequestContext)
    return app
