"""What arrived when: tokens by their events, requests under way. For throughput over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from loadtest.record import Record
from loadtest.scenario import GENERATING

Values = NDArray[np.float64]
Times = tuple[Values, Values]  # (seconds from the run's start, how many came then): two arrays of the same length


def output_tokens(records: Sequence[Record]) -> Times:
    """Tokens of complete answers, by when they arrived. The server tells their number at the end: they are spread
    evenly over the events with text."""
    found = [one for one in records if not one.failure and one.kind in GENERATING and one.first_s is not None]
    events = np.fromiter((len(one.gaps_s) + 1 for one in found), np.int64, len(found))
    first = np.fromiter((one.first_s for one in found), np.float64, len(found))
    tokens = np.fromiter((one.output_tokens for one in found), np.float64, len(found))
    gaps = np.fromiter(chain.from_iterable((0.0, *one.gaps_s) for one in found), np.float64, int(events.sum()))
    since = np.cumsum(gaps)
    begins = since[np.cumsum(events) - events]
    return since + np.repeat(first - begins, events), np.repeat(tokens / events, events)


def prompt_tokens(records: Sequence[Record]) -> Times:
    """Tokens of the prompts of complete answers, by when the answer began: they had been read by then."""
    found = [one for one in records if not one.failure]
    at = ((one.end_s or 0.0) if one.first_s is None else one.first_s for one in found)
    return np.fromiter(at, np.float64, len(found)), np.array([one.prompt_tokens for one in found], np.float64)


def answers(records: Sequence[Record]) -> Times:
    """Complete answers by their end."""
    ends = np.array([one.end_s for one in records if not one.failure and one.end_s is not None], np.float64)
    return ends, np.ones(len(ends))


def items(records: Sequence[Record]) -> Times:
    """Texts and sentences of complete answers, by their end. A request that generates has none."""
    found = [one for one in records if not one.failure and one.end_s is not None and one.kind not in GENERATING]
    return np.array([one.end_s for one in found], np.float64), np.array([one.items for one in found], np.float64)


def per_second(times: Times, from_s: float, until_s: float) -> float:
    """How many came in [from_s, until_s), a second."""
    at, counts = times
    return float(counts[(at >= from_s) & (at < until_s)].sum()) / (until_s - from_s)


def binned(times: Times, edges: Values) -> Values:
    """How many came a second, between each edge and the next one: one fewer than edges."""
    at, counts = times
    return np.histogram(at, edges, weights=counts)[0] / np.diff(edges)


def most_at_once(records: Sequence[Record], from_s: float, until_s: float) -> int:
    """The most requests that were under way at any moment of [from_s, until_s), whatever became of them."""
    spans = [
        (one.sent_s, one.end_s)
        for one in records
        if one.sent_s is not None and one.end_s is not None and one.sent_s < until_s and one.end_s > from_s
    ]
    # An end before a beginning at the same moment: a user who asks again is still one.
    changes = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    return int(np.cumsum([change for _, change in changes]).max(initial=0))
