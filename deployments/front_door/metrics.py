"""What the front door itself sees of requests, under vLLM's metric names, labels and buckets.

The `engine` label is the variant. Metrics of the engines come from the replicas; `metrics_merge.py` joins the two.
"""

from __future__ import annotations

import time
from functools import lru_cache, partial

from prometheus_client import CollectorRegistry, Counter, Histogram

from deployments.front_door.objective_metrics import ObjectiveMetrics, VariantObjective
from deployments.front_door.trail.record import CURRENT
from deployments.routing.prediction import Objective
from engine.request import Timings

LABELS = ("model_name", "engine")
_FAST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_REQUEST = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)
FIRST_TOKEN: tuple[float, ...] = (*_FAST, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)
BETWEEN_TOKENS: tuple[float, ...] = (*_TOKEN, 20.0, 40.0, 80.0)
LATENCY: tuple[float, ...] = (*_REQUEST, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0)
TOKEN_COUNTS = tuple(float(step * 10**power) for power in range(6) for step in (1, 2, 5))
OUTCOMES = ("stop", "length", "abort", "error")


class VariantMetrics:
    """The metrics of one variant, with their labels already looked up: that is too slow to do for each token."""

    def __init__(self, metrics: Metrics, model: str, variant: str) -> None:
        labels = (model, variant)
        self.first_token = metrics.first_token.labels(*labels)
        self.between_tokens = metrics.between_tokens.labels(*labels)
        self.per_output_token = metrics.per_output_token.labels(*labels)
        self.latency = metrics.latency.labels(*labels)
        self.prompt_size = metrics.prompt_size.labels(*labels)
        self.generation_size = metrics.generation_size.labels(*labels)
        self.prompt_tokens = metrics.prompt_tokens.labels(*labels)
        self.generation_tokens = metrics.generation_tokens.labels(*labels)
        self.queue = metrics.queue.labels(*labels)
        self.prefill = metrics.prefill.labels(*labels)
        self.decode = metrics.decode.labels(*labels)
        self.inference = metrics.inference.labels(*labels)
        self.outcomes = {reason: metrics.success.labels(*labels, reason) for reason in OUTCOMES}


class CallMetrics:
    """The metrics of one variant of a model that answers texts whole: there is no first token to wait for."""

    def __init__(self, metrics: Metrics, model: str, variant: str) -> None:
        labels = (model, variant)
        self.latency = metrics.latency.labels(*labels)
        self.queue = metrics.queue.labels(*labels)
        self.inference = metrics.inference.labels(*labels)
        self.prompt_size = metrics.prompt_size.labels(*labels)
        self.prompt_tokens = metrics.prompt_tokens.labels(*labels)
        self.outcomes = {reason: metrics.success.labels(*labels, reason) for reason in OUTCOMES}

    def answered(self, prompt_tokens: int, latency_s: float, queue_s: float, run_s: float) -> None:
        """One text has its answer."""
        self.latency.observe(latency_s)
        self.queue.observe(queue_s)
        self.inference.observe(run_s)
        self.prompt_size.observe(prompt_tokens)
        self.prompt_tokens.inc(prompt_tokens)


class GeneratedMetrics:
    """What a variant writes, for models that write."""

    def __init__(self, metrics: Metrics, model: str, variant: str) -> None:
        self.generation_size = metrics.generation_size.labels(model, variant)
        self.generation_tokens = metrics.generation_tokens.labels(model, variant)


class Metrics:
    """All of the front door's metrics, in a registry of their own so that several applications can share a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *extra: str) -> Counter:
            return Counter(f"vllm:{name}", text, (*LABELS, *extra), registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"vllm:{name}", text, LABELS, registry=self.registry, buckets=buckets)

        self.first_token = histogram("time_to_first_token_seconds", "Time to first token in seconds.", FIRST_TOKEN)
        self.between_tokens = histogram("inter_token_latency_seconds", "Time between tokens.", BETWEEN_TOKENS)
        self.per_output_token = histogram(
            "request_time_per_output_token_seconds", "Mean time per token after the first.", BETWEEN_TOKENS
        )
        self.latency = histogram("e2e_request_latency_seconds", "Time from arrival to the last token.", LATENCY)
        self.queue = histogram("request_queue_time_seconds", "Time waiting for the first step.", LATENCY)
        self.prefill = histogram("request_prefill_time_seconds", "Time from there to the first token.", LATENCY)
        self.decode = histogram("request_decode_time_seconds", "Time from the first token to the last.", LATENCY)
        self.inference = histogram("request_inference_time_seconds", "Time in prefill and decode.", LATENCY)
        self.prompt_size = histogram("request_prompt_tokens", "Tokens of one prompt.", TOKEN_COUNTS)
        self.generation_size = histogram("request_generation_tokens", "Tokens of one answer.", TOKEN_COUNTS)
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts whose answer has begun.")
        self.generation_tokens = counter("generation_tokens", "Tokens generated.")
        self.success = counter("request_success", "Requests that ended, by how.", "finished_reason")
        self.rejections = counter("admission_rejections", "Requests refused or given up, by why.", "reason")
        self.decisions = Counter(
            "stageline:variant_decisions",
            "Requests by the variant that was chosen, and why it was.",
            (*LABELS, "reason"),
            registry=self.registry,
        )
        self.objective = lru_cache(maxsize=None)(ObjectiveMetrics(self.registry).of)
        self.variant = lru_cache(maxsize=None)(partial(VariantMetrics, self))
        self.calls = lru_cache(maxsize=None)(partial(CallMetrics, self))
        self.generated = lru_cache(maxsize=None)(partial(GeneratedMetrics, self))

    def meter(self, model: str, variant: str, prompt_tokens: int, started: float, objective: Objective) -> Meter:
        """For one engine request; `started` is by `time.perf_counter`."""
        return Meter(self.variant(model, variant), self.objective(model, variant, objective), prompt_tokens, started)

    def decided(self, model: str, variant: str, reason: str) -> None:
        """Count a request whose variant was chosen."""
        self.decisions.labels(model, variant, reason).inc()

    def rejected(self, model: str, variant: str, reason: str) -> None:
        """Count a request that was refused or given up."""
        self.rejections.labels(model, variant, reason).inc()


class Meter:
    """Takes one engine request's times."""

    __slots__ = ("_first_at", "_last_at", "_metrics", "_objective", "_prompt_tokens", "_started", "_tokens")

    def __init__(
        self, metrics: VariantMetrics, objective: VariantObjective, prompt_tokens: int, started: float
    ) -> None:
        self._metrics = metrics
        self._objective = objective
        self._prompt_tokens = prompt_tokens
        self._started = started
        self._first_at = self._last_at = 0.0
        self._tokens = 0

    def progress(self, tokens: int) -> None:
        """`tokens` more arrived. The gap before a bundle is shared among its tokens, so that the mean holds."""
        now = time.perf_counter()
        metrics = self._metrics
        if not self._first_at:
            self._first_at = now
            metrics.first_token.observe(now - self._started)
            metrics.prompt_tokens.inc(self._prompt_tokens)
        elif tokens:
            gap = (now - self._last_at) / tokens
            for _ in range(tokens):
                metrics.between_tokens.observe(gap)
        self._last_at = now
        if tokens:
            self._tokens += tokens
            metrics.generation_tokens.inc(tokens)

    def finish(self, timings: Timings | None) -> None:
        """The answer is complete."""
        metrics = self._metrics
        metrics.latency.observe(self._last_at - self._started)
        metrics.prompt_size.observe(self._prompt_tokens)
        metrics.generation_size.observe(self._tokens)
        token_s = None
        if self._tokens > 1:
            token_s = (self._last_at - self._first_at) / (self._tokens - 1)
            metrics.per_output_token.observe(token_s)
        first_s = self._first_at - self._started
        parts = self._objective.answered(first_s, token_s)
        if (record := CURRENT.get()) is not None:
            record.answered(parts, first_s, token_s)
        if timings is not None:
            metrics.queue.observe(timings.queue_s)
            metrics.prefill.observe(timings.prefill_s)
            metrics.decode.observe(timings.decode_s)
            metrics.inference.observe(timings.prefill_s + timings.decode_s)

    def done(self, outcome: str) -> None:
        """Count how it ended: `stop`, `length`, `abort` or `error`."""
        self._metrics.outcomes[outcome].inc()
        if (record := CURRENT.get()) is not None:
            record.prompt_tokens += self._prompt_tokens
            record.output_tokens += self._tokens
