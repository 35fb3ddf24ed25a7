"""A client that costs next to nothing, for a server on the same cores: plain sockets, and a look at the bytes.

Everything that a client would want to know of a stream is counted; what is not needed for that is not parsed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import EngineFailed

READ_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class StreamResult:
    """Of one request, seconds from its start; `tokens` by the server's own count."""

    first_s: float
    seconds: float
    tokens: int


async def stream(host: str, port: int, model: str, prompt: list[int], tokens: int) -> StreamResult:
    """One streamed completion. Raises EngineFailed for an incomplete answer, TimeoutError and OSError for none."""
    body = json.dumps(
        {
            "model": model,
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(head.encode() + body)
        first_s, tail = 0.0, b""
        while data := await asyncio.wait_for(reader.read(1 << 16), READ_TIMEOUT_S):
            if not first_s and b"data: " in data:
                first_s = time.perf_counter() - started
            tail = (tail + data)[-1024:]
        seconds = time.perf_counter() - started
    finally:
        writer.close()
    return StreamResult(first_s, seconds, count_tokens(tail))


def count_tokens(tail: bytes) -> int:
    """`completion_tokens` from the last chunk of a stream."""
    marker = b'"completion_tokens":'
    if b"[DONE]" not in tail or marker not in tail:
        raise EngineFailed(f"the server's answer was not complete: {tail[-300:].decode(errors='replace')}")
    digits = tail.rpartition(marker)[2].lstrip()
    return int(digits[: len(digits) - len(digits.lstrip(b"0123456789"))])


async def load(
    host: str, port: int, model: str, *, streams: int, prompt: int, tokens: int, turn: int = 0
) -> list[StreamResult]:
    """`streams` requests at once, each with a prompt of its own, and with others at each `turn`."""
    first = 1000 + turn * streams
    prompts = [[first + i, *(500 + j % 97 for j in range(prompt - 1))] for i in range(streams)]
    return await asyncio.gather(*(stream(host, port, model, one, tokens) for one in prompts))


async def ask_all(host: str, port: int, path: str, bodies: Sequence[bytes], clients: int) -> list[float]:
    """Posts all bodies by so many clients, each on a connection of its own and one after another: seconds of each.

    Raises EngineFailed for any answer but a 200, TimeoutError and OSError for none.
    """
    waiting = iter(enumerate(bodies))
    seconds = [0.0] * len(bodies)

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            for index, body in waiting:
                head = (
                    f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n"
                )
                started = time.perf_counter()
                writer.write(head.encode() + body)
                await asyncio.wait_for(_answer(reader), READ_TIMEOUT_S)
                seconds[index] = time.perf_counter() - started
        finally:
            writer.close()

    await asyncio.gather(*(client() for _ in range(min(clients, len(bodies)))))
    return seconds


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
    body = await reader.readexactly(int(length or 0))
    if not head.startswith(b"http/1.1 200"):
        raise EngineFailed(f"the server answered {head.splitlines()[0].decode()}: {body[:300].decode()}")
    return body
