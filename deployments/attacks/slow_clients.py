"""Callers who take their time: heads and bodies in drops, streams that nobody reads. Each holds as little as can be,
and not for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress

from deployments.attacks.outcome import Outcome
from deployments.attacks.processes import holdings
from deployments.attacks.raw import completion, request, statuses
from deployments.attacks.scene import Scene

CALLERS = 200
DRIP_S = 2.0  # between two bytes
FOR_S = 75.0  # a server that lets a caller drip longer than this does so for ever
READERS = 12
SMALL_BUFFER = 4096  # bytes that a reader's side takes before it is full
MORE_MIB = 300


async def slow_heads(scene: Scene) -> Outcome:
    """Heads that come a byte at a time and never end."""
    head = request(scene, "GET", "/health", headers={"X-Slow": "x" * 4096})
    return await _drip(scene, [head] * CALLERS, "head")


async def slow_bodies(scene: Scene) -> Outcome:
    """Bodies that do so, behind whole heads."""
    body = completion(scene, prompt="x" * 4096)
    whole = request(scene, body=body)
    return await _drip(scene, [whole] * CALLERS, "body", at_once=len(whole) - len(body))


async def _drip(scene: Scene, requests: Sequence[bytes], what: str, at_once: int = 10) -> Outcome:
    """Sends `at_once` bytes of each, then one by one. How long the server put up with it."""
    began = time.monotonic()
    ended = await asyncio.gather(*(_one(scene, data, at_once) for data in requests))
    held = [seconds for seconds, _ in ended if seconds is not None]
    outcome = Outcome(
        seen={
            "callers": len(requests),
            "ended by the server": len(held),
            "longest_s": round(max(held, default=0.0), 1),
            "statuses": sorted({status for _, found in ended for status in found}),
            "watched_s": round(time.monotonic() - began, 1),
        }
    )
    outcome.check(
        len(held) == len(requests),
        f"{len(requests) - len(held)} slow {what}s were still waited for after {FOR_S:.0f} s",
    )
    outcome.check(not any(s >= 500 for _, found in ended for s in found), f"slow {what}s were answered with a 5xx")
    return outcome


async def _one(scene: Scene, data: bytes, at_once: int) -> tuple[float | None, list[int]]:
    """Seconds until the server ended it (None: it did not), and what it answered."""
    host, port = scene.address
    began = time.monotonic()
    with suppress(OSError, TimeoutError):
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 20)
        try:
            writer.write(data[:at_once])
            for at in range(at_once, len(data)):
                with suppress(TimeoutError):
                    answer = await asyncio.wait_for(reader.read(1 << 16), DRIP_S)
                    return time.monotonic() - began, statuses(answer)
                if time.monotonic() - began > FOR_S:
                    return None, []
                writer.write(data[at : at + 1])
        finally:
            writer.close()
    return time.monotonic() - began, []


async def deaf_readers(scene: Scene) -> Outcome:
    """Streams that nobody reads: what they hold of memory, and that the others go on. Afterwards they are read, and
    must be whole."""
    before = holdings(scene)
    body = completion(scene, max_tokens=400, ignore_eos=True, stream=True, logprobs=20)
    async with _opened(scene, request(scene, body=body), READERS) as connections:
        await asyncio.sleep(30)
        now = holdings(scene)
        ends = await asyncio.gather(*(_finish(reader) for reader, _ in connections))
    grown = now.total("mib") - before.total("mib")
    whole = sum(b"[DONE]" in tail for tail in ends)
    outcome = Outcome(seen={"readers": READERS, "whole afterwards": whole, "mib_more": grown})
    outcome.check(grown <= MORE_MIB, f"{READERS} streams that nobody reads take {grown} MiB")
    outcome.check(whole == READERS, f"{READERS - whole} of {READERS} streams were lost: {[t[-80:] for t in ends][:1]}")
    return outcome


async def deaf_leavers(scene: Scene) -> Outcome:
    """As many again, who leave without having read anything."""
    body = completion(scene, max_tokens=1000, ignore_eos=True, stream=True)
    async with _opened(scene, request(scene, body=body), READERS):
        await asyncio.sleep(5)
    return Outcome(seen={"leavers": READERS})


@asynccontextmanager
async def _opened(
    scene: Scene, data: bytes, count: int
) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """So many connections that have asked and read nothing. Each side's buffers are as small as they can be made."""
    import socket

    host, port = scene.address
    found = []
    try:
        for _ in range(count):
            plain = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            plain.setblocking(False)
            await asyncio.get_running_loop().sock_connect(plain, (host, port))
            reader, writer = await asyncio.open_connection(sock=plain, limit=SMALL_BUFFER)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(data)
            found.append((reader, writer))
        yield found
    finally:
        for _, writer in found:
            writer.transport.abort()


async def _finish(reader: asyncio.StreamReader) -> bytes:
    """Reads a stream to its end; its last bytes."""
    tail = b""
    transport = reader._transport  # type: ignore[attr-defined]
    transport.resume_reading()
    with suppress(OSError, TimeoutError):
        while b"[DONE]" not in tail:
            part = await asyncio.wait_for(reader.read(1 << 16), 60)
            if not part:
                break
            tail = (tail + part)[-512:]
    return tail


async def attack(scene: Scene) -> Outcome:
    outcome = Outcome()
    steps: tuple[tuple[str, Awaitable[Outcome]], ...] = (
        ("heads", slow_heads(scene)),
        ("bodies", slow_bodies(scene)),
    )
    for (name, _), found in zip(steps, await asyncio.gather(*(step for _, step in steps)), strict=True):
        outcome.seen[name] = found.seen
        outcome.faults += found.faults
    return outcome


async def attack_streams(scene: Scene) -> Outcome:
    outcome = Outcome()
    for name, step in (("deaf", deaf_readers), ("leaving", deaf_leavers)):
        found = await step(scene)
        outcome.seen[name] = found.seen
        outcome.faults += found.faults
    return outcome
