"""A measurement's figures from its requests' records. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.errors import EngineFailed
from loadtest.record import Record


def figures(records: Sequence[Record]) -> dict[str, Any]:
    """Of a closed loop from the first request sent to the last answer: rates, latencies, counts.

    Latency is from sending to the whole answer. The first and the last requests count like all others: rates are of
    all that was answered, in all the time that it took. Raises EngineFailed where nothing was answered.
    """
    good = [
        record for record in records if not record.failure and record.sent_s is not None and record.end_s is not None
    ]
    if not good:
        why = next((record.message or record.failure for record in records), "no request was sent")
        raise EngineFailed(f"Nothing was answered: {why}")
    sent = np.array([record.sent_s for record in good], dtype=float)
    ended = np.array([record.end_s for record in good], dtype=float)
    seconds = float(ended.max() - sent.min())
    latency_ms = 1000 * (ended - sent)
    tokens = [record.output_tokens for record in good]
    return {
        "requests": len(records),
        "failed": len(records) - len(good),
        "failures": sorted({record.failure for record in records if record.failure}),
        "seconds": seconds,
        "tokens_per_s": sum(tokens) / seconds,
        "items_per_s": sum(record.items for record in good) / seconds,
        **{f"p{share}_ms": float(np.percentile(latency_ms, share)) for share in (50, 90, 99)},
        "mean_ms": float(latency_ms.mean()),
        "prompt_tokens": sum(record.prompt_tokens for record in good) / len(good),
        "output_tokens": [min(tokens), max(tokens)],
    }
