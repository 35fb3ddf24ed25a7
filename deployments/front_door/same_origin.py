"""Plain ASGI middleware against foreign web pages: a browser on this machine reaches what strangers cannot reach.

A page anywhere may have the browser send requests here. It may not read the answers, as no CORS headers are sent, but
what the request does is done by then. And whose page has a name that he points at 127.0.0.1 once it is loaded (DNS
rebinding) is of the same origin for the browser, and reads the answers too. Where keys are asked for neither helps
him: the browser has none that it would send by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.front_door.errors import to_http
from engine.errors import NotAllowed

Headers = Iterable[tuple[bytes, bytes]]

_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_PAGE = frozenset({b"same-origin", b"none"})  # "none": the user's own doing, no page's
_PORTS = {b"http": b":80", b"https": b":443"}
_OWN_NAME = re.compile(rb"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]*)?", re.IGNORECASE)

FOREIGN_PAGE = (
    "The browser says that a page of another origin sends this, and of pages this server takes only what its own send. "
    "Ask it from a program instead. If this is its own page, behind a proxy: have the proxy pass on the Host that the "
    "browser asked for."
)
FOREIGN_NAME = (
    "This server has no API keys and answers this machine only, under the names localhost, 127.0.0.1 and [::1]; the "
    "Host of this request is another one. Use one of these names. To serve under others, make a key with `stageline "
    "keys new NAME --file keys.yaml` and set access.keys to that file; or set http.without_keys to true, and anybody "
    "who reaches it may use all of it."
)


class ForeignOrigin(NotAllowed):
    """A browser was led here by somebody else."""

    code = "foreign_origin"


class SameOrigin:
    """Refuses with 403 what a foreign page has the browser send, but for methods that change nothing; with
    `own_names`, also what is asked of any other name than this machine's own."""

    def __init__(self, app: ASGIApp, own_names: bool) -> None:
        self.app = app
        self.own_names = own_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None
        if scope["type"] == "http":
            if self.own_names and not has_own_name(scope["headers"]):
                refusal = FOREIGN_NAME
            elif scope["method"] not in _HARMLESS and from_foreign_page(scope["headers"]):
                refusal = FOREIGN_PAGE
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await to_http(ForeignOrigin(refusal)).response()(scope, receive, send)


def has_own_name(headers: Headers) -> bool:
    """Whether a request was sent to this machine by one of its own names, with any port. One without a `Host` is no
    browser's."""
    return all(_OWN_NAME.fullmatch(value) for name, value in headers if name == b"host")


def from_foreign_page(headers: Headers) -> bool:
    """Whether the browser says so. What says nothing is no browser.

    `Sec-Fetch-Site` goes first: a page cannot forge it, and unlike `Origin` it is right behind a proxy that sends
    another `Host`. Browsers send it to https and to this machine only, and old ones nowhere.
    """
    sites, origins, hosts = (
        [value for name, value in headers if name == wanted] for wanted in (b"sec-fetch-site", b"origin", b"host")
    )
    if sites:
        return not _OWN_PAGE.issuperset(sites)
    return any(not _is_at(origin, hosts) for origin in origins)


def _is_at(origin: bytes, hosts: list[bytes]) -> bool:
    scheme, _, place = origin.lower().partition(b"://")
    return bool(place) and bool(hosts) and {host.lower() for host in hosts} <= {place, place + _PORTS.get(scheme, b"")}
