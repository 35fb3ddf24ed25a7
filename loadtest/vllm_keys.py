"""A run's figures under the keys of `vllm bench serve --save-result`, so that tools which read those read ours.

What differs from vLLM's own figures: the warm-up is left out; TTFT ends at the first text, not at the first event;
`max_concurrent_requests` is at one moment, not within a second; tokens are counted by the server's `usage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from loadtest.latency import e2e_s, ttft_s
from loadtest.record import Record
from loadtest.scenario import Closed, Load, Scenario
from loadtest.summary import QUANTILES, Distribution, Summary, in_window

NAMES = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2e": "e2el"}  # ours -> vLLM's
BACKENDS = {"chat": "openai-chat", "completions": "openai"}  # other kinds have their own names


def vllm_result(summary: Summary, scenario: Scenario, start_s: float) -> dict[str, Any]:
    """`start_s`: Unix time of the run's start."""
    load, overall, duration_s = scenario.load, summary.overall, summary.duration_s
    kinds = dict.fromkeys(BACKENDS.get(one.kind, one.kind) for one in scenario.requests)
    backend = ",".join(kinds)
    good = overall.goodput_per_s * (summary.until_s - summary.from_s)
    found: dict[str, Any] = {
        "date": datetime.fromtimestamp(start_s, UTC).strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": backend,
        "backend": backend,
        "label": scenario.name,
        "model_id": ",".join(dict.fromkeys(one.model for one in scenario.requests)),
        "tokenizer_id": None,  # the server counts
        "num_prompts": overall.sent,
        "request_rate": _rate(summary, scenario),
        "burstiness": _burstiness(load),
        "max_concurrency": load.users if isinstance(load, Closed) else None,
        "duration": duration_s,
        "completed": overall.completed,
        "failed": overall.sent - overall.completed,
        "total_input_tokens": overall.input_tokens,
        "total_output_tokens": overall.output_tokens,
        "request_throughput": overall.completed / duration_s,
        "request_goodput": good / duration_s if scenario.objective.within else None,
        "output_throughput": overall.output_tokens / duration_s,
        "total_token_throughput": (overall.input_tokens + overall.output_tokens) / duration_s,
        "max_output_tokens_per_s": summary.max_output_tokens_per_s,
        "max_concurrent_requests": summary.max_concurrent_requests,
    }
    for ours, theirs in NAMES.items():
        found |= _latency(theirs, overall.latencies.get(ours))
    return found


def vllm_details(records: Sequence[Record], summary: Summary) -> dict[str, list[Any]]:
    """What `--save-detailed` adds, of each request in the window. A failed one has zeros and its error, as there."""
    measured = in_window(records, summary.from_s, summary.until_s)
    return {
        "input_lens": [one.prompt_tokens for one in measured],
        "output_lens": [0 if one.failure else one.output_tokens for one in measured],
        "ttfts": [ttft_s(one) or 0.0 for one in measured],
        "itls": [[] if one.failure else one.gaps_s for one in measured],
        "start_times": [one.scheduled_s if one.sent_s is None else one.sent_s for one in measured],
        "latencies": [e2e_s(one) or 0.0 for one in measured],
        "generated_texts": [one.text for one in measured],
        "errors": [f"{one.failure}: {one.message}" if one.failure else "" for one in measured],
    }


def _burstiness(load: Load) -> float | str:
    """Even distances are "inf" to vLLM."""
    if isinstance(load, Closed):
        return 1.0
    return "inf" if load.arrivals == "constant" else load.burstiness


def _rate(summary: Summary, scenario: Scenario) -> float | str:
    """As planned; of phases and traces, what came of it. "inf" is what vLLM writes for users that ask again."""
    if isinstance(scenario.load, Closed):
        return "inf"
    return scenario.load.rate or summary.overall.offered_per_s


def _latency(name: str, found: Distribution | None) -> dict[str, float]:
    """Zeros where nothing was measured, as there."""
    if found is None:
        return {f"{one}_{name}_ms": 0.0 for one in ("mean", "median", "std", *QUANTILES)}
    return {
        f"mean_{name}_ms": found.mean.value,
        f"median_{name}_ms": found.p50.value,
        f"std_{name}_ms": found.std,
        **{f"{one}_{name}_ms": getattr(found, one).value for one in QUANTILES},
    }
