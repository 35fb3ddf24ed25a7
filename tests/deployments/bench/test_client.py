from __future__ import annotations

import asyncio

import pytest

from deployments.bench.client import count_tokens, load
from engine.errors import EngineFailed

LAST = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":64,"total_tokens":69}}\n\ndata: [DONE]\n\n'


def test_the_last_chunk_tells_the_tokens() -> None:
    assert count_tokens(LAST) == 64


@pytest.mark.parametrize("tail", [b"", LAST[:-14], b"data: [DONE]\n\n", b'HTTP/1.1 503 x\r\n\r\n{"error": {}}'])
def test_half_an_answer_is_no_figure(tail: bytes) -> None:
    with pytest.raises(EngineFailed, match="not complete"):
        count_tokens(tail)


async def test_streams_run_side_by_side() -> None:
    open_at_once = asyncio.Barrier(3)
    bodies: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        bodies.append(await reader.readexactly(length))
        async with asyncio.timeout(10):
            await open_at_once.wait()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\ndata: {}\n\n")
        await writer.drain()
        writer.write(LAST)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        results = await load("127.0.0.1", port, "m", streams=3, prompt=5, tokens=64)
    assert [result.tokens for result in results] == [64] * 3
    assert all(0 < result.first_s <= result.seconds for result in results)
    assert len(set(bodies)) == 3  # no two prompts alike: a prefix cache would answer them all at once
