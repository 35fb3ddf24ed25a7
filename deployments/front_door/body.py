"""From bytes to a checked body: strict JSON, known fields, and errors that name the field at fault."""

from __future__ import annotations

import asyncio
import difflib
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from deployments.front_door.schemas.base import Body
from engine.errors import InvalidRequest

B = TypeVar("B", bound=Body)

FORM = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS = 10_000

LARGE_BODY = 256 << 10
"""Bodies over this many bytes are parsed in a thread, so that other streams go on meanwhile."""


def json_body(kind: type[B], *, or_form: bool = False) -> Callable[[Request], Awaitable[B]]:
    """A FastAPI dependency that reads the request's body as `kind`, with `or_form` also from a form (URL-encoded).

    Raises `InvalidRequest` or `PayloadTooLarge`.
    """

    async def read(request: Request) -> B:
        content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        form = or_form and content_type == FORM
        if not form and content_type != "application/json" and not content_type.endswith("+json"):
            also = f" or '{FORM}'" if or_form else ""
            raise InvalidRequest(f"Send JSON with 'Content-Type: application/json'{also}, not '{content_type[:100]}'.")
        raw = await request.body()
        read_as = parse_form if form else parse
        if len(raw) > LARGE_BODY:
            return await asyncio.to_thread(read_as, kind, raw)
        return read_as(kind, raw)

    return read


def parse_form(kind: type[B], raw: bytes) -> B:
    """Parse and check a URL-encoded form. A field that comes several times is a list; one that is empty counts as
    absent unless it holds text. Raises `InvalidRequest`."""
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError as error:  # not UTF-8, too many fields
        raise InvalidRequest(f"The request's body is not a valid form: {error}.") from None
    fields: dict[str, Any] = {}
    for name, text in pairs:
        if not text and name not in kind.model_fields:
            continue
        value = text if name in kind.texts else _from_form(text)
        if name in fields:
            known = fields[name]
            fields[name] = [*known, value] if isinstance(known, list) else [known, value]
        else:
            fields[name] = value
    return check(kind, fields)


def _from_form(text: str) -> Any:
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        return text or None
    return value if isinstance(value, bool | int | float) else text


def parse(kind: type[B], raw: bytes) -> B:
    """Parse and check a JSON body. Raises `InvalidRequest`."""
    try:
        fields = from_json(raw, allow_inf_nan=False)
    except ValueError as error:  # malformed, not UTF-8, lone surrogates, NaN, nested too deeply
        raise InvalidRequest(f"The request's body is not valid JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("The request's body must be a JSON object.")
    return check(kind, fields)


def check(kind: type[B], fields: Mapping[str, Any]) -> B:
    """Check parsed fields. A field that is null counts as absent; one that has no effect here is dropped."""
    kept = {}
    for name, value in fields.items():
        if value is None or name in kind.ignored:
            continue
        refused = kind.unsupported.get(name)
        if refused is None:
            kept[name] = value
        elif not any(value == neutral and type(value) is type(neutral) for neutral in refused):
            raise InvalidRequest(f"'{name}' is not supported by this server. Leave it out.", param=name)
    try:
        return kind.model_validate(kept)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True, include_input=False)
        raise _explain(kind, details[0]) from None


def _explain(kind: type[Body], detail: ErrorDetails) -> InvalidRequest:
    param = _path(detail["loc"])
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
        known = [*kind.model_fields, *kind.ignored, *kind.unsupported]
        near = difflib.get_close_matches(param[:100], known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return InvalidRequest(f"Unknown field '{param[:100]}'.{hint}", param=param[:100])
    if detail["type"] == "missing":
        return InvalidRequest(f"Missing required field '{param}'.", param=param)
    message = detail["msg"].removeprefix("Value error, ")
    return InvalidRequest(f"'{param}': {message}." if param else f"{message}.", param=param or None)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{part[:100]}" if path else part[:100]
    return path


def deadline_seconds(request: Request) -> float | None:
    """The caller's `x-request-timeout-seconds`, if any. Raises `InvalidRequest`."""
    text = request.headers.get("x-request-timeout-seconds")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidRequest(
            "The header x-request-timeout-seconds must be a positive number of seconds.",
            param="x-request-timeout-seconds",
        )
    return seconds
