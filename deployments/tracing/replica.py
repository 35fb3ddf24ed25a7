"""A replica's spans of a call, made of the engine's own times after the fact: the engine knows nothing of traces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context

from deployments.tracing.context import nanoseconds, of_parent
from deployments.tracing.stages import StageTimes, Work
from engine.request import Timings

COMPUTED = ("prefill", "run", "decode")


class ReplicaTracer:
    """Of one replica; `stages` where it is a pipeline."""

    def __init__(self, tracer: Tracer, model: str, variant: str, stages: StageTimes | None) -> None:
        self.tracer = tracer
        self.attributes = {"gen_ai.request.model": model, "stageline.variant": variant}
        self.stages = stages
        self._ending: set[asyncio.Task[None]] = set()

    def begin(self, traces: Sequence[str], arrival_s: float) -> CallTrace:
        """A call came for those who trace it; `arrival_s` is when its request came to the front door, from when the
        engine counts."""
        if self.stages is not None:
            self._later(self.stages.begin)
        return CallTrace(self, traces, arrival_s)

    def end(self, trace: CallTrace) -> None:
        """The call is over. Stages are asked, where there are any, in the background."""
        trace.ended_s = time.time()
        if self.stages is None:
            trace.write()
        else:
            self._later(trace.write)

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(asyncio.to_thread(work))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class CallTrace:
    """Of one call. `timings` as the engine told them last."""

    def __init__(self, owner: ReplicaTracer, traces: Sequence[str], arrival_s: float) -> None:
        self._owner = owner
        self._traces = traces
        self._arrival_s = arrival_s
        self._came_s = time.time()
        self.ended_s = 0.0
        self.timings: Timings | None = None
        self.tokens = 0
        self._whole = False

    def took(self, tokens: int, timings: Timings | None) -> None:
        """A part of the answer."""
        self.tokens += tokens
        self.timings = timings or self.timings

    def texts(self, results: Sequence[Any]) -> None:
        """The results of texts that are answered whole: the one that took the longest counts."""
        self._whole = True
        if results:
            self.timings = Timings(max(one.queue_s for one in results), max(one.run_s for one in results), 0.0)

    def end(self) -> None:
        """The call is over."""
        self._owner.end(self)

    def write(self) -> None:
        """Makes the spans."""
        stages = self._owner.stages
        parts = self.parts()
        works = [
            [] if stages is None or name not in COMPUTED else stages.between(start_s, end_s)
            for name, start_s, end_s in parts
        ]
        for parent in self._traces:
            span = self._span("compute", of_parent(parent), self._came_s, SpanKind.SERVER)
            span.set_attributes({**self._owner.attributes, "gen_ai.usage.output_tokens": self.tokens})
            below = set_span_in_context(span)
            for (name, start_s, end_s), work in zip(parts, works, strict=True):
                part = self._span(name, below, start_s)
                for one in work:
                    self._stage(one, set_span_in_context(part))
                part.end(nanoseconds(end_s))
            span.end(nanoseconds(self.ended_s))

    def parts(self) -> list[tuple[str, float, float]]:
        """Names, and from when to when by the wall clock. What was not begun is not among them."""
        if self.timings is None:
            return [("queue", self._came_s, self.ended_s)]
        began_s = min(max(self._arrival_s + self.timings.queue_s, self._came_s), self.ended_s)
        first_s = min(began_s + self.timings.prefill_s, self.ended_s)
        parts = [("queue", self._came_s, began_s), ("run" if self._whole else "prefill", began_s, first_s)]
        if self.tokens > 1:
            parts.append(("decode", first_s, self.ended_s))
        return parts

    def _stage(self, one: Work, context: Context) -> None:
        span = self._span(f"stage {one.index}", context, one.first_s)
        span.set_attributes(
            {
                "stageline.stage.batches": one.batches,
                "stageline.stage.busy_s": one.busy_s,
                "stageline.stage.sending_s": one.sending_s,
            }
        )
        span.end(nanoseconds(one.last_s))

    def _span(self, name: str, context: Context, start_s: float, kind: SpanKind = SpanKind.INTERNAL) -> Span:
        return self._owner.tracer.start_span(name, context, kind, start_time=nanoseconds(start_s))
