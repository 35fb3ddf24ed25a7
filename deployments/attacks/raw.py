"""HTTP as bytes, for requests that no client library would send."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from deployments.attacks.scene import Scene

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


def request(
    scene: Scene,
    method: str = "POST",
    path: str = "/v1/completions",
    body: bytes = b"",
    *,
    headers: Mapping[str, str] | None = None,
    length: bool = True,
) -> bytes:
    """A request as it goes over the wire, as JSON unless `headers` say otherwise."""
    host, port = scene.address
    lines = {"Host": f"{host}:{port}", "Content-Type": "application/json", **scene.headers, **(headers or {})}
    if length:
        lines.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def completion(scene: Scene, **fields: Any) -> bytes:
    """The body of a small completion."""
    defaults = {"model": scene.generator, "prompt": "Once", "max_tokens": 2, "temperature": 0}
    return json.dumps({**defaults, **fields}).encode()


async def exchange(scene: Scene, data: bytes, *, timeout_s: float = 20.0, most: int = 1 << 20) -> bytes:
    """Sends it, and reads until the server closes, has answered and says no more for a second, or time is up."""
    host, port = scene.address
    reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), timeout_s)
    found = b""
    try:
        writer.write(data)
        with suppress(ConnectionError):
            await asyncio.wait_for(writer.drain(), timeout_s)
        while len(found) < most:
            part = await asyncio.wait_for(reader.read(1 << 16), 1.5 if statuses(found) else timeout_s)
            if not part:
                break
            found += part
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return found


def statuses(answer: bytes) -> list[int]:
    """Of all responses in it; none where the connection was closed without one."""
    return [int(one) for one in _STATUS.findall(answer)]
