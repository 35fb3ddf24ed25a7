"""Mixed load for as long as wanted, with callers who leave and replicas that are killed, and a look at everything every
now and then."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from deployments.attacks.processes import holdings, wait_idle
from deployments.attacks.scene import Scene, own_server
from deployments.attacks.soak_judge import Sample, judge
from deployments.attacks.soak_load import Load
from deployments.bench.machine import provenance

CONFIG = Path(__file__).parent / "soak.yaml"
SAMPLES, LEAST_S = 240, 2.0
KILL_EVERY_S, FIRST_KILL_S = 120.0, 20.0
RECOVER_S = 120.0


def soak(minutes: float, console: Console, *, seed: int = 0, config: Path = CONFIG) -> dict[str, Any]:
    """Serves `config`, asks, hurts and watches. Raises EngineFailed where the server does not start."""
    console.print("Starting the server ...")
    with own_server(config) as scene:
        console.print(f"Asking for {minutes:g} minutes ...")
        return asyncio.run(_watched(scene, 60 * minutes, seed, console))


async def _watched(scene: Scene, seconds: float, seed: int, console: Console) -> dict[str, Any]:
    samples: list[Sample] = []
    kills: list[dict[str, Any]] = []
    async with Load(scene, seed) as load:
        began = time.monotonic()
        killing = asyncio.create_task(_kill(scene, began, seconds, random.Random(seed), kills, console))
        try:
            every = max(LEAST_S, seconds / SAMPLES)
            while time.monotonic() - began < seconds:
                samples.append(await asyncio.to_thread(_sample, scene, began))
                await asyncio.sleep(every)
        finally:
            killing.cancel()
    left = await asyncio.to_thread(wait_idle, scene)
    seen, faults = judge(samples, load.ended, began, seconds)
    if left:
        faults.append(f"left at work: {'; '.join(left)}")
    faults += [f"{kill['replica']} was not replaced in {RECOVER_S:.0f} s" for kill in kills if kill["back_s"] is None]
    return {
        "benchmark": "soak",
        **provenance(),
        "seconds": seconds,
        "seed": seed,
        **seen,
        "kills": kills,
        "left_over": left,
        "faults": faults,
        "samples": [{"at_s": round(s.at_s, 1), "mib": s.mib, "files": s.files, "cache": s.cache} for s in samples],
        "answered_at_s": [round(one.at_s - began, 2) for one in load.ended if one.how == "answered"],
    }


def _sample(scene: Scene, began: float) -> Sample:
    held = holdings(scene)
    try:
        cache = max((float(one.get("kv_cache_usage") or 0) for one in _replicas(scene)), default=0.0)
    except Exception:  # the front door is busy; the sample is of what it holds
        cache = 0.0
    return Sample(time.monotonic() - began, dict(held.mib), dict(held.files), round(cache, 4))


def _replicas(scene: Scene, model: str | None = None) -> list[dict[str, Any]]:
    return [
        one
        for shown in scene.status()["models"]
        if model in (None, shown["name"])
        for variant in shown["variants"]
        for one in variant["replicas"]
    ]


async def _kill(
    scene: Scene, began: float, seconds: float, draw: random.Random, kills: list[dict[str, Any]], console: Console
) -> None:
    """Kills a replica of the generator now and then, while another one runs, and waits until it is replaced. One of
    them is never killed, so that it is seen what a generator holds after all that time."""
    spared = 0
    await asyncio.sleep(min(FIRST_KILL_S, seconds / 3))
    while time.monotonic() - began < 0.8 * seconds:
        with suppress(Exception):  # a front door too busy to tell: later
            found = await asyncio.to_thread(_replicas, scene, scene.generator)
            if len(found) >= 2:
                spared = spared or found[0]["pid"]
                chosen = draw.choice([one for one in found if one["pid"] != spared])
                kills.append(await _one_kill(scene, chosen, len(found), began))
                console.print(
                    f"  killed {kills[-1]['replica']}, replaced after {kills[-1]['back_s']} s", highlight=False
                )
        await asyncio.sleep(KILL_EVERY_S)


async def _one_kill(scene: Scene, chosen: dict[str, Any], count: int, began: float) -> dict[str, Any]:
    at_s = time.monotonic()
    kill: dict[str, Any] = {"replica": chosen["pid"], "at_s": round(at_s - began, 1), "back_s": None}
    os.kill(int(chosen["pid"]), signal.SIGKILL)
    while time.monotonic() - at_s < RECOVER_S:
        await asyncio.sleep(1.0)
        with suppress(Exception):
            pids = {one["pid"] for one in await asyncio.to_thread(_replicas, scene, scene.generator)}
            if len(pids) >= count and chosen["pid"] not in pids:
                kill["back_s"] = round(time.monotonic() - at_s, 1)
                break
    return kill
