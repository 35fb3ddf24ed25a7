"""Errors as HTTP: one table from types to statuses, and OpenAI's error object.

Faults of the server keep their details for the log; the caller gets the request id to find them with.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.front_door.trail.record import CURRENT
from engine.errors import (
    Busy,
    CallerOverShare,
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    NotAllowed,
    NotAuthenticated,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    RequestTooSlow,
    StagelineError,
)

log = logging.getLogger("stageline.front_door")


class RecordNotFound(StagelineError):
    """No front door remembers a request of this id."""


STATUSES: Mapping[type[StagelineError], tuple[int, str]] = {
    InvalidRequest: (400, "BadRequestError"),
    NotAuthenticated: (401, "AuthenticationError"),
    NotAllowed: (403, "PermissionDeniedError"),
    ModelNotFound: (404, "NotFoundError"),
    RecordNotFound: (404, "NotFoundError"),
    DeadlineExceeded: (408, "RequestTimeoutError"),
    RequestTooSlow: (408, "RequestTimeoutError"),
    Busy: (409, "ConflictError"),
    PayloadTooLarge: (413, "PayloadTooLargeError"),
    CallerOverShare: (429, "RateLimitError"),
    RateLimited: (429, "RateLimitError"),
    EngineFailed: (500, "InternalServerError"),
    Overloaded: (503, "ServiceUnavailableError"),
}
"""The one table. What is not in it (checkpoints, sources, configuration, foreign exceptions) is a plain 500."""

HTTP_TYPES: Mapping[int, str] = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    422: "UnprocessableEntityError",
    503: "ServiceUnavailableError",
}

INTERNAL_MESSAGE = (
    "The server failed to answer this request. Try again; if it persists, report the X-Request-Id header."
)


class ContextTooLong(InvalidRequest):
    """The prompt leaves no room in the model's context."""

    code = "context_length_exceeded"


@dataclass(frozen=True, slots=True)
class HttpError:
    """An error as it goes over the wire."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, headers=self.headers)


def error_object(message: str, kind: str, param: str | None, code: int | str) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def to_http(error: Exception, request_id: str = "") -> HttpError:
    """Translate any exception. Those that are the server's fault are logged here, with the request's id, and the
    request's record is told."""
    if (record := CURRENT.get()) is not None:
        record.fail(error)
    for kind in type(error).__mro__:
        if kind in STATUSES and isinstance(error, StagelineError):
            status, name = STATUSES[kind]
            if status == 500:
                log.error("request %s failed: %s", request_id, error, exc_info=error)
            code = getattr(error, "code", status)
            headers = {}
            if isinstance(error, Overloaded):
                headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
            elif isinstance(error, NotAuthenticated):
                headers["WWW-Authenticate"] = "Bearer"
            return HttpError(status, error_object(error.message, name, error.param, code), headers)
    log.error("request %s failed unexpectedly", request_id, exc_info=error)
    return HttpError(500, error_object(INTERNAL_MESSAGE, "InternalServerError", None, 500), {})


async def handle_stageline_error(request: Request, error: Exception) -> JSONResponse:
    """Exception handler of the application for `StagelineError`."""
    return to_http(error, request.scope.get("stageline.request_id", "")).response()


async def handle_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for what the framework itself refuses: unknown paths, wrong methods."""
    assert isinstance(error, HTTPException)
    kind = HTTP_TYPES.get(error.status_code, "BadRequestError" if error.status_code < 500 else "InternalServerError")
    if error.status_code == 404:
        message = f"There is no {request.method} {request.url.path[:200]}."
    elif error.status_code == 405:
        message = f"{request.url.path[:200]} does not take {request.method}."
    else:
        message = str(error.detail)
    headers = dict(error.headers or {})
    return JSONResponse(error_object(message, kind, None, error.status_code), error.status_code, headers=headers)


async def handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for path and query parameters that the framework refuses."""
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = next(iter(error.errors()), {})
    param = ".".join(str(part) for part in first.get("loc", ())[1:]) or None
    body = error_object(str(first.get("msg", "The request is not valid.")), "BadRequestError", param, 400)
    return JSONResponse(body, 400)
