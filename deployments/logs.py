"""Logs of all processes: one line for each thing that happens, as JSON or for people, with the request's id.

Lines go to the process's standard error, which Ray keeps in a file for each process of its own (`worker-*.err` in the
session's `logs`). What an exception says is left out where it may quote a request: see `error_text`.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidRequest, ModelNotFound, StagelineError

if TYPE_CHECKING:
    from deployments.settings.logs import Logs

REQUEST_ID: ContextVar[str] = ContextVar("stageline_request_id", default="")
"""Of the HTTP request that a task works for, "" where it works for none."""

ENVIRONMENT = "STAGELINE_LOGS"
"""Where replicas and stages find how to log: `Logs` as JSON."""

OURS = ("deployments", "cluster", "engine", "stageline")
FIELDS = "fields"  # of a log record: more to tell, by name
QUOTING = (InvalidRequest, ModelNotFound)
HARMLESS = (StagelineError, OSError, RuntimeError, MemoryError, ImportError, AttributeError)
HARMLESS_PACKAGES = ("ray", "torch")


def set_up(logs: Logs, process: str, *, level: str | None = None) -> None:
    """Has this process log as configured, under this name; `level` instead of the configured one. Calling it again
    changes what was set."""
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _Lines)]:
        root.removeHandler(handler)
    # Not what Serve puts in its place, which is its own log, where each line is one of Serve's.
    handler = _Lines(sys.__stderr__)
    handler.setFormatter((Json if logs.format == "json" else Text)(process, quote=logs.prompts))
    handler.addFilter(with_request_id)
    root.addHandler(handler)
    for name in OURS:
        logging.getLogger(name).setLevel((level or logs.level).upper())


def environment(logs: Logs) -> dict[str, str]:
    """What `set_up_here` reads."""
    return {ENVIRONMENT: logs.model_dump_json()}


def set_up_here(process: str) -> None:
    """Has a process that Ray started log as its environment says. Where that says nothing, nothing is changed."""
    text = os.environ.get(ENVIRONMENT)
    if text is not None:
        from deployments.settings.logs import Logs

        set_up(Logs.model_validate_json(text), process)


def with_request_id(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass and notes whose request it is about."""
    if not hasattr(record, "request_id"):
        record.request_id = REQUEST_ID.get()
    return True


class _Lines(logging.StreamHandler[Any]):
    """Ours, to be told from others'."""


class Text(logging.Formatter):
    """For people: when, how bad, who, for which request, what."""

    def __init__(self, process: str, *, quote: bool = False) -> None:
        super().__init__()
        self.process, self.quote = process, quote

    def format(self, record: logging.LogRecord) -> str:
        request = getattr(record, "request_id", "")
        about = f" [{request}]" if request else ""
        head = f"{moment(record.created)} {record.levelname:<7} {self.process}/{record.process} {record.name}{about}:"
        lines = [f"{head} {record.getMessage()}"]
        if record.exc_info and record.exc_info[1] is not None:
            lines.append(exception_text(record.exc_info[1], quote=self.quote))
        return "\n".join(lines)


class Json(logging.Formatter):
    """For programs: one object a line."""

    def __init__(self, process: str, *, quote: bool = False) -> None:
        super().__init__()
        self.process, self.quote = process, quote

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": moment(record.created),
            "level": record.levelname.lower(),
            "process": self.process,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := getattr(record, "request_id", ""):
            told["request_id"] = request
        if record.exc_info and record.exc_info[1] is not None:
            told["exception"] = exception_text(record.exc_info[1], quote=self.quote)
        return json.dumps(told | getattr(record, FIELDS, {}), default=str)


def moment(at_s: float) -> str:
    """In UTC, to the millisecond."""
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exception_text(error: BaseException, *, quote: bool) -> str:
    """Its traceback, and those of what it came from, first things first."""
    parts = ["".join([*traceback.format_tb(one.__traceback__), error_text(one, quote=quote)]) for one in _chain(error)]
    return "\nwhich led to:\n".join(reversed(parts))


def error_text(error: BaseException, *, quote: bool) -> str:
    """Its type and what it says. Errors about values, of any library, like to quote them, and a request's text must not
    get into a log unless `quote` says so: of those the type alone is told."""
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__
    ours = isinstance(error, HARMLESS) and not isinstance(error, QUOTING) and not isinstance(error, UnicodeError)
    if quote or ours or kind.__module__.split(".")[0] in HARMLESS_PACKAGES:
        return f"{name}: {error}"
    return f"{name} (what it says is left out: it may quote a request; logs.prompts shows it)"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            one = one.exceptions[0]
        else:
            one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
