"""Figures of one request. None: it has no such figure, because it failed, or because of its kind.

Only complete answers have latencies. What is about tokens is of requests that generate; a classification has one time,
that of its whole answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from loadtest.record import Record
from loadtest.scenario import GENERATING


def ttft_s(record: Record) -> float | None:
    """Time to first token: from sending to the first event with text. Of an answer in one piece: to its end."""
    return _since(record.sent_s, record.first_s) if _generated(record) else None


def ttft_chunk_s(record: Record) -> float | None:
    """As `ttft_s`, but to the first event with `choices`, be its text empty: where vLLM's clock stops."""
    return _since(record.sent_s, record.chunk_s) if _generated(record) else None


def ttft_scheduled_s(record: Record) -> float | None:
    """From when the request should have been sent: a client that is late cannot hide it."""
    return _since(record.scheduled_s, record.first_s) if _generated(record) else None


def tpot_s(record: Record) -> float | None:
    """Time per output token without the first (vLLM, SGLang): from the first to the last, over n - 1. An answer that
    came at once has none: nobody saw its tokens come."""
    if not _generated(record) or record.output_tokens < 2 or not record.gaps_s:
        return None
    span = _since(record.first_s, record.last_s)
    return None if span is None else span / (record.output_tokens - 1)


def tpot_with_first_s(record: Record) -> float | None:
    """Time per output token with the first (guidellm): from sending to the last token, over n."""
    if not _generated(record) or record.output_tokens < 1:
        return None
    span = _since(record.sent_s, record.last_s)
    return None if span is None else span / record.output_tokens


def e2e_s(record: Record) -> float | None:
    """From sending to the last token of a stream, or to the end of an answer in one piece."""
    return None if record.failure else _since(record.sent_s, _end_s(record))


def e2e_scheduled_s(record: Record) -> float | None:
    """The same from when the request should have been sent."""
    return None if record.failure else _since(record.scheduled_s, _end_s(record))


def lag_s(record: Record) -> float | None:
    """How late the client sent it. A request that failed has a lag, too: it is the client's figure."""
    return _since(record.scheduled_s, record.sent_s)


Limited = Literal["ttft_ms", "tpot_ms", "e2e_ms"]  # what an objective has limits for

# All but `itl`, of which a request has many: they are its `gaps_s`.
LATENCIES: Mapping[str, Callable[[Record], float | None]] = {
    "ttft": ttft_s,
    "ttft_chunk": ttft_chunk_s,
    "ttft_scheduled": ttft_scheduled_s,
    "tpot": tpot_s,
    "tpot_with_first": tpot_with_first_s,
    "e2e": e2e_s,
    "e2e_scheduled": e2e_scheduled_s,
    "lag": lag_s,
}


def is_good(record: Record, within_ms: Mapping[Limited, float]) -> bool:
    """Whether it is complete and within all limits (`ttft_ms`, `tpot_ms`, `e2e_ms`). A limit on something that the
    request does not have, such as a first token of a classification, is no limit for it."""
    if record.failure:
        return False
    found = ((LATENCIES[name.removesuffix("_ms")](record), limit) for name, limit in within_ms.items())
    return all(value is None or 1000 * value <= limit for value, limit in found)


def _generated(record: Record) -> bool:
    return not record.failure and record.kind in GENERATING


def _end_s(record: Record) -> float | None:
    return record.last_s if record.kind in GENERATING and record.last_s is not None else record.end_s


def _since(begin_s: float | None, end_s: float | None) -> float | None:
    return None if begin_s is None or end_s is None else end_s - begin_s
