"""Callers who leave at any moment: in the middle of a head, of a body, of a stream, or of a wait for an answer."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress

from deployments.attacks.outcome import Outcome
from deployments.attacks.raw import completion, request, statuses
from deployments.attacks.scene import Scene

COUNT, AT_ONCE = 400, 32
SEED = 8


async def attack(scene: Scene) -> Outcome:
    """So many requests of every task, each left after some bytes or some time. Whoever calls this looks at what is left
    over."""
    draw = random.Random(SEED)
    gate = asyncio.Semaphore(AT_ONCE)
    kinds = _requests(scene)
    found: dict[str, int] = {}

    async def one(data: bytes, patience_s: float, part: float) -> None:
        async with gate:
            how = await _leave(scene, data, patience_s, part)
            found[how] = found.get(how, 0) + 1

    await asyncio.gather(
        *(one(draw.choice(kinds), draw.expovariate(2.0), draw.choice((1.0, 1.0, draw.random()))) for _ in range(COUNT))
    )
    outcome = Outcome(seen={"requests": COUNT, "left": dict(sorted(found.items()))})
    bad = sum(count for how, count in found.items() if how.startswith("5") and how != "503")
    outcome.check(bad == 0, f"{bad} were answered with a 5xx before they left")
    return outcome


def _requests(scene: Scene) -> list[bytes]:
    streamed = {"max_tokens": 300, "ignore_eos": True, "stream": True}
    found = [
        request(scene, body=completion(scene, **streamed)),
        request(scene, body=completion(scene, **streamed, n=4, temperature=1.0)),
        request(scene, body=completion(scene, max_tokens=200, ignore_eos=True)),
        request(scene, body=completion(scene, **streamed, prompt="word " * 400)),
    ]
    for task, path, body in (
        ("text-classification", "/classify", {"input": ["My card is lost."] * 200}),
        ("translation", "/translate", {"q": ["A man plays the guitar."] * 50, "source": "en", "target": "de"}),
    ):
        if task in scene.models:
            whole = json.dumps({"model": scene.models[task], **body}).encode()
            found.append(request(scene, path=path, body=whole))
    return found


async def _leave(scene: Scene, data: bytes, patience_s: float, part: float) -> str:
    """Sends a part, reads for so long, and cuts the connection. How far it came."""
    host, port = scene.address
    answer = b""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 20)
    except (OSError, TimeoutError):
        return "not let in"
    try:
        writer.write(data[: max(1, int(len(data) * part))])
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(patience_s):
                while chunk := await reader.read(1 << 16):
                    answer = (answer + chunk)[: 1 << 12]
    finally:
        writer.transport.abort()
    found = statuses(answer)
    return str(found[0]) if found else "nothing yet"
