"""One replica of a variant: an engine on its own thread, and the asyncio side that hands its tokens out.

A plain class; `deployments/app.py` makes a Serve deployment of it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from deployments.outbox import Outbox
from deployments.replica_metrics import ReplicaMetrics
from engine.config import EngineConfig
from engine.engine import Output
from engine.errors import EngineFailed
from engine.load import load_engine
from engine.loop import EngineLoop
from engine.request import Delta, Request


class Stream:
    """What one request gained and its reader has not taken yet. Lives on the asyncio thread."""

    __slots__ = ("pending", "ready")

    def __init__(self) -> None:
        self.pending: Delta | None = None
        self.ready = asyncio.Event()

    def put(self, delta: Delta) -> None:
        self.pending = delta if self.pending is None else joined(self.pending, delta)
        self.ready.set()

    async def take(self) -> Delta:
        await self.ready.wait()
        self.ready.clear()
        delta, self.pending = self.pending, None
        assert delta is not None
        return delta


def joined(first: Delta, second: Delta) -> Delta:
    """Two deltas of one request as one: what a slow reader finds."""
    return replace(
        second,
        tokens=first.tokens + second.tokens,
        logprobs=first.logprobs + second.logprobs,
        prompt_logprobs=first.prompt_logprobs + second.prompt_logprobs,
    )


class Replica:
    """Loads the model when it is made. Raises CheckpointError and ConfigError."""

    def __init__(self, model: str, variant: str, path: str, config: EngineConfig) -> None:
        self.model, self.variant = model, variant
        self.metrics = ReplicaMetrics(model, variant)
        self.streams: dict[str, Stream] = {}
        self.calls = itertools.count()
        self.outbox = Outbox()
        self.events: asyncio.AbstractEventLoop | None = None
        torch.set_num_threads(config.threads)
        started = time.perf_counter()
        self.loop = EngineLoop(partial(load_engine, Path(path), config), self._deliver, self.metrics.observe_step)
        self.loop.start()
        self.load_s = time.perf_counter() - started

    async def generate(self, request: Request) -> AsyncIterator[Delta]:
        """The request's deltas until it is finished. Closing the iterator aborts the request.

        Raises InvalidRequest, Overloaded and EngineFailed before the first delta; what fails later is in a delta.
        """
        self.events = asyncio.get_running_loop()
        # An id of its own for each call: a caller may send a request again before the first is gone.
        request = replace(request, id=f"{request.id}/{next(self.calls)}")
        stream = self.streams[request.id] = Stream()
        queued = finished = False
        try:
            if request.sampling.grammar is None:
                grammar = self.loop.prepare(request)
            else:
                grammar = await asyncio.to_thread(self.loop.prepare, request)  # compiling takes time
            self.loop.enqueue(request, grammar)
            queued = True
            while not finished:
                delta = await stream.take()
                finished = delta.finish_reason is not None
                yield delta
        finally:
            self.streams.pop(request.id, None)
            if queued and not finished:
                self.loop.abort(request.id)

    async def describe(self) -> dict[str, object]:
        """This replica's line in `GET /status`."""
        stats = self.loop.stats()
        return {
            "variant": self.variant,
            "pid": os.getpid(),
            "state": "ready" if self.loop.healthy else "failed",
            "running": stats.running,
            "waiting": stats.waiting,
            "kv_cache_usage": round(stats.blocks_used / stats.blocks_total, 4),
            "tokens_per_s": round(self.metrics.tokens_per_s(stats), 1),
            "generated_tokens": stats.generated_tokens,
            "kernels": self.loop.engine.decoder.kernels.name,
            "max_model_len": self.loop.engine.limits.max_model_len,
            "load_s": round(self.load_s, 2),
        }

    async def exposition(self) -> str:
        """This replica's metrics in Prometheus' text format."""
        return self.metrics.exposition(self.loop.stats())

    def check_health(self) -> None:
        """Serve replaces the replica when this raises."""
        if not self.loop.healthy:
            raise EngineFailed(f"the engine of {self.model}:{self.variant} has stopped working")

    def __del__(self) -> None:
        # Serve calls this after the last stream has ended, or after its own limit.
        loop: EngineLoop | None = getattr(self, "loop", None)
        if loop is not None:
            loop.stop()

    def _deliver(self, outputs: list[Output]) -> None:
        # On the engine's thread: one wake-up of the asyncio side a step, whatever the number of requests.
        told = self.outbox.add(outputs, time.monotonic())
        if told:
            assert self.events is not None
            self.events.call_soon_threadsafe(self._dispatch, told)

    def _dispatch(self, outputs: list[Output]) -> None:
        for request_id, delta in outputs:
            stream = self.streams.get(request_id)
            if stream is not None:
                stream.put(delta)
