from __future__ import annotations

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from deployments.front_door.body import deadline_seconds
from deployments.serve_headers import OwnHeaders

Headers = list[tuple[bytes, bytes]]


async def seen_and_sent(asked: Headers, answered: Headers) -> tuple[Scope, Headers]:
    """What the application is given for `asked`, and what leaves when it answers `answered`."""
    seen: list[Scope] = []
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": answered})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await OwnHeaders(app)({"type": "http", "headers": asked}, receive, send)
    return seen[0], sent[0]["headers"]


async def test_a_deadline_is_for_the_front_door_alone() -> None:
    from ray.serve._private.http_util import parse_request_timeout_header

    name = b"x-request-timeout-seconds"
    scope, _ = await seen_and_sent([(b"host", b"test"), (name, b"2.5")], [])
    assert deadline_seconds(Request(scope)) == 2.5
    assert parse_request_timeout_header({name: b"2.5"}, 9.0) == 2.5  # what it would do otherwise
    assert parse_request_timeout_header(dict(scope["headers"]), 9.0) is None
    scope, _ = await seen_and_sent([(b"host", b"test")], [])
    assert deadline_seconds(Request(scope)) is None


async def test_the_request_id_is_sent_once() -> None:
    doubled = [(b"X-Request-Id", b"a"), (b"content-type", b"text/plain"), (b"x-request-id", b"a")]
    _, sent = await seen_and_sent([], doubled)
    assert sorted(name.lower() for name, _ in sent) == [b"content-type", b"x-request-id"]
