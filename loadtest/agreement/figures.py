"""What a client says of one run, whatever it calls it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """TTFT: from the request to the first text. TPOT: from then to the end, over the tokens but the first. Rates: from
    the first request to the last answer."""

    ttft_p50_ms: float
    ttft_p99_ms: float
    tpot_mean_ms: float
    tpot_p50_ms: float
    output_tokens_per_s: float
    requests_per_s: float
    completed: int
    failed: int
    version: str  # of the client
    doubt: str = ""  # what the client says against its own figures, as that it had too little time; only ours does


TITLES = {
    "ttft_p50_ms": "TTFT p50, ms",
    "ttft_p99_ms": "TTFT p99, ms",
    "tpot_mean_ms": "TPOT mean, ms",
    "tpot_p50_ms": "TPOT p50, ms",
    "output_tokens_per_s": "tokens/s",
    "requests_per_s": "requests/s",
}
"""The figures that are compared, with their titles in tables."""
