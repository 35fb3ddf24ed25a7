from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest

from deployments.logs import ENVIRONMENT, FIELDS, REQUEST_ID, environment, error_text, set_up, set_up_here
from deployments.settings import Logs
from engine.errors import EngineFailed, InvalidRequest

CANARY = "canary-4711"
log = logging.getLogger("deployments.tried")


def test_json(log_lines: io.StringIO) -> None:
    set_up(Logs(format="json"), "front-door")
    token = REQUEST_ID.set("r-1")
    log.info("%d replicas", 3, extra={FIELDS: {"more": 1}})
    REQUEST_ID.reset(token)
    told = json.loads(log_lines.getvalue())
    assert told.pop("time").endswith("Z")
    assert told.pop("pid") > 0
    assert told == {
        "level": "info",
        "process": "front-door",
        "logger": "deployments.tried",
        "message": "3 replicas",
        "request_id": "r-1",
        "more": 1,
    }


def test_text(log_lines: io.StringIO) -> None:
    set_up(Logs(), "m:bf16")
    log.warning("careful", extra={"request_id": "r-2"})
    log.info("nothing")
    first, second = log_lines.getvalue().splitlines()
    assert "WARNING m:bf16/" in first
    assert first.endswith("deployments.tried [r-2]: careful")
    assert second.endswith("deployments.tried: nothing")


def test_levels_are_of_our_own_loggers(log_lines: io.StringIO) -> None:
    set_up(Logs(level="warning"), "p")
    log.info("not told")
    logging.getLogger("httpx").info("not told")
    set_up(Logs(level="info"), "p", level="error")
    log.warning("not told")
    assert not log_lines.getvalue()
    set_up(Logs(level="debug"), "p")
    log.debug("told once, though it was set up three times")
    assert len(log_lines.getvalue().splitlines()) == 1


def test_whatever_a_process_starts_with(log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    before = list(logging.getLogger().handlers)
    set_up_here("p")
    assert logging.getLogger().handlers == before
    monkeypatch.setenv(ENVIRONMENT, environment(Logs(format="json", level="debug"))[ENVIRONMENT])
    set_up_here("p")
    log.debug("x")
    assert json.loads(log_lines.getvalue())["process"] == "p"


def fail(error: Exception) -> None:
    try:
        try:
            raise ValueError(f"invalid literal: {CANARY}")
        except ValueError as first:
            raise error from first
    except Exception:
        log.exception("it failed")


@pytest.mark.parametrize("form", ["text", "json"])
def test_exceptions_do_not_quote(log_lines: io.StringIO, form: str) -> None:
    set_up(Logs.model_validate({"format": form}), "p")
    fail(RuntimeError("shapes differ"))
    text = log_lines.getvalue()
    assert CANARY not in text
    assert "ValueError (what it says is left out" in text
    assert "RuntimeError: shapes differ" in text
    assert "in fail" in text
    set_up(Logs.model_validate({"format": form, "prompts": True}), "p")
    fail(RuntimeError("shapes differ"))
    assert CANARY in log_lines.getvalue()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (EngineFailed("the engine died"), True),
        (OSError("no such file"), True),
        (InvalidRequest(CANARY), False),
        (KeyError(CANARY), False),
        (UnicodeEncodeError("utf-8", CANARY, 0, 1, "why"), False),
        (Exception(CANARY), False),
    ],
)
def test_which_errors_are_told(error: Exception, told: bool) -> None:
    text = error_text(error, quote=False)
    assert CANARY not in text
    assert ("left out" not in text) is told


def test_errors_of_a_group_are_told(log_lines: io.StringIO) -> None:
    set_up(Logs(), "p")

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(fail_at_once))

    try:
        asyncio.run(together())
    except ExceptionGroup:
        log.exception("all failed")
    assert "RuntimeError: at once" in log_lines.getvalue()


def fail_at_once() -> None:
    raise RuntimeError("at once")
