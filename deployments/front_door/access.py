"""Plain ASGI middleware that asks for a key: who may come in, and how much of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.access.account import Account
from deployments.access.caller import CALLER_KEY, Caller
from deployments.access.keys import Key
from deployments.access.ring import KeyFile
from deployments.front_door.errors import to_http
from deployments.front_door.plan import FrontDoor
from deployments.front_door.trail.record import record_of
from engine.errors import NotAllowed, RateLimited, StagelineError

Need = Literal["any", "metrics", "admin"]
"""Any key will do; one of scope metrics or admin; one of scope admin."""

_OPEN = frozenset({"/health", "/ready", "/version", "/console"})
_OPERATORS = frozenset({"/metrics", "/status"})


def public_need(path: str) -> Need | None:
    """What key the public port wants for a path; None where it wants none."""
    if path in _OPEN or path.startswith("/console/"):
        return None
    return "metrics" if path in _OPERATORS else "any"


def admin_need(path: str) -> Need | None:
    """The same for the admin port."""
    return "admin" if path == "/admin" or path.startswith("/admin/") else None


class Access:
    """Lets in who has a key for it, counts what a key uses, and refuses what is over its limits.

    It is on the way of every request: it reads one header, and wraps the answer only of keys that have limits.
    """

    def __init__(self, app: ASGIApp, door: FrontDoor, keys: KeyFile, need: Callable[[str], Need | None]) -> None:
        self.app = app
        self.door = door
        self.keys = keys
        self.need = need

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        need = self.need(scope["path"]) if scope["type"] == "http" else None
        if need is None:
            await self.app(scope, receive, send)
            return
        account: Account | None = None
        try:
            key = self.keys.identify(
                next((value for name, value in scope["headers"] if name == b"authorization"), None)
            )
            record_of(scope).key = key.name
            check_scope(key, need)
            account = self.door.accounts.of(key)
            if need == "any":  # who watches the server shall see it, whatever the key has used
                account.begin()
        except StagelineError as error:
            self.door.metrics.rejected("", "", error.limit if isinstance(error, RateLimited) else "key")
            await to_http(error).response()(scope, receive, send if account is None else _telling(account, send))
            return
        caller = scope[CALLER_KEY] = Caller(account)
        if need != "any":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, _telling(account, send))
        finally:
            caller.close()


def check_scope(key: Key, need: Need) -> None:
    """Raises NotAllowed."""
    if need == "any" or "admin" in key.scopes or need in key.scopes:
        return
    raise NotAllowed(f"The API key '{key.name}' is not for this: it lacks the scope '{need}'.")


def _telling(account: Account, send: Send) -> Send:
    """`send`, with `x-ratelimit-*` headers on the answer where the key has such limits."""
    limits = account.key.limits
    if limits.requests_per_minute is None and limits.tokens_per_minute is None:
        return send

    async def telling(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *account.headers()]
        await send(message)

    return telling
