"""One replica of a text-generation variant: its tokens are handed out as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from deployments.load import Load
from deployments.outbox import Outbox
from deployments.pipelines import Cut, load_pipelined
from deployments.provision import VariantFiles, variant_path
from deployments.replica import Replica
from deployments.replica_metrics import Measures, Rate, load_gauges
from engine.config import EngineConfig
from engine.engine import Engine, Output, Stats
from engine.load import load_engine
from engine.request import Delta, Request
from engine.sampling.grammar_state import CompiledGrammar
from engine.steps import SteppedEngine


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
        cached_tokens=max(first.cached_tokens, second.cached_tokens),  # an error does not tell them
        timings=second.timings or first.timings,
    )


class GenerationReplica(Replica[Request, CompiledGrammar | None, Delta, Stats]):
    """Loads the model when it is made. Raises SourceError, CheckpointError and ConfigError."""

    def __init__(
        self, model: str, variant: str, files: VariantFiles, config: EngineConfig, cut: Cut | None = None
    ) -> None:
        self.streams: dict[str, Stream] = {}
        self.outbox = Outbox()
        self.rate = Rate()

        def load() -> SteppedEngine[Request, CompiledGrammar | None, Delta, Stats]:
            if cut is not None:
                return load_pipelined("text-generation", files, config, cut)
            return load_engine(variant_path(files), config)

        super().__init__(model, variant, config.threads, load)

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Its deltas until it is finished. Closing the iterator aborts the request.

        Raises InvalidRequest, Overloaded and EngineFailed before the first; what fails later is in a delta. ReplicaLost
        in either place means that another replica can do it.
        """
        self.check_engine()
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
            written = len(request.generated)  # by another replica: here they are computed, as the prompt is
            self.meter.came(request.id, len(request.prompt) + written, request.sampling.max_tokens - written)
            while not finished:
                delta = await stream.take()
                finished = delta.finished
                yield delta
        finally:
            self.streams.pop(request.id, None)
            self.meter.gone(request.id, finished)
            if queued and not finished:
                self.loop.abort(request.id)

    async def told(self, request: Request) -> AsyncIterator[Delta | tuple[Delta, Load]]:
        """As `generate`, now and then with this replica's load."""
        trace = self.traced(request.arrival_s)
        try:
            async with aclosing(self.generate(request)) as deltas:
                async for delta in deltas:
                    if trace is not None:
                        trace.took(len(delta.tokens), delta.timings)
                    load = self.load_due()
                    yield delta if load is None else (delta, load)
        finally:
            if trace is not None:
                trace.end()

    def at_work(self, stats: Stats) -> tuple[int, int]:
        return stats.running, stats.waiting

    def measures(self, stats: Stats) -> Measures:
        usage = stats.blocks_used / stats.blocks_total
        engine = self.loop.engine
        assert isinstance(engine, Engine)
        return Measures(
            gauges={
                **load_gauges(stats.running, stats.waiting),
                "vllm:kv_cache_usage_perc": ("Share of the KV cache in use, 0 to 1.", usage),
                "vllm:gpu_cache_usage_perc": ("The same under its old name.", usage),
            },
            counters={
                "vllm:num_preemptions": ("Requests whose cache was given to others for a while.", stats.preemptions),
                "vllm:prefix_cache_queries": ("Prompt tokens looked up in the prefix cache.", stats.prefix_queries),
                "vllm:prefix_cache_hits": ("Prompt tokens found there.", stats.prefix_hits),
                "vllm:prompt_tokens_cached": ("Prompt tokens that were not computed.", stats.prefix_hits),
            },
            status={
                "running": stats.running,
                "waiting": stats.waiting,
                "kv_cache_usage": round(usage, 4),
                "tokens_per_s": round(self.rate.per_s(stats.generated_tokens), 1),
                "generated_tokens": stats.generated_tokens,
                "kernels": engine.kernels,
                "max_model_len": engine.limits.max_model_len,
            },
        )

    def deliver(self, outputs: list[Output]) -> None:
        # One wake-up of the asyncio side a step, whatever the number of requests.
        told = self.outbox.add(outputs, time.monotonic())
        if told:
            assert self.events is not None
            self.events.call_soon_threadsafe(self._dispatch, told)

    def _dispatch(self, outputs: list[Output]) -> None:
        for request_id, delta in outputs:
            stream = self.streams.get(request_id)
            if stream is not None:
                self.meter.wrote(request_id, len(delta.tokens))
                stream.put(delta)
