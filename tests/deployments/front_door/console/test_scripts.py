"""The page's logic that needs no page: parsers, times, counters, quantiles, scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from playwright.sync_api import Page
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.deployments.front_door.console.scripts import call


def test_metrics_are_read_as_prometheus_client_reads_them(scripts: Page) -> None:
    registry = CollectorRegistry()
    counter = Counter("vllm:tokens", "Tokens.", ("model_name", "text"), registry=registry)
    counter.labels("a", 'quotes " and \\ and\nlines, {braces} and x="1"').inc(3)
    counter.labels("b", "").inc(1e12)
    Gauge("stageline:plain", "No labels.", registry=registry).set(-0.25)
    Histogram("some_seconds", "Times.", ("engine",), registry=registry, buckets=(0.1, 1.0)).labels("bf16").observe(0.5)
    text = generate_latest(registry).decode()
    expected = [
        {"name": sample.name, "labels": sample.labels, "value": sample.value}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    assert call(scripts, "watch/metrics_text.js", "m.parseMetrics(a[0])", text) == expected
    wanted = call(scripts, "watch/metrics_text.js", "m.parseMetrics(a[0], new Set(['stageline:plain']))", text)
    assert wanted == [{"name": "stageline:plain", "labels": {}, "value": -0.25}]
    assert call(scripts, "watch/metrics_text.js", "m.parseMetrics('a +Inf\\nb -Inf').map((s) => 1 / s.value)") == [0, 0]


def grown(scripts: Page, *looks: Sequence[tuple[dict[str, str], float]]) -> list[list[float]]:
    """How much the series of a counter grew at each look, in the series' order."""
    samples = [[{"name": "c", "labels": labels, "value": value} for labels, value in look] for look in looks]
    script = (
        "((c) => a[0].map((look) => { const found = c.grown(look);"
        " return look.map((s) => found.find((f) => f.labels === s.labels)?.grown ?? 0); }))(new m.Counters())"
    )
    result: list[list[float]] = call(scripts, "watch/counters.js", script, samples)
    return result


def test_what_was_there_before_the_first_look_counts_for_nothing(scripts: Page) -> None:
    one, two = {"m": "1"}, {"m": "2"}
    assert grown(scripts, [(one, 5)], [(one, 7)], [(one, 7), (two, 3)]) == [[0], [2], [0, 3]]


def test_a_counter_that_falls_began_anew(scripts: Page) -> None:
    assert grown(scripts, [({}, 100)], [({}, 4)], [({}, 6)]) == [[0], [4], [2]]


def test_a_series_that_was_not_told_for_a_while_goes_on_where_it_was(scripts: Page) -> None:
    assert grown(scripts, [({}, 10)], [], [({}, 12)]) == [[0], [], [2]]


def test_a_front_door_that_is_heard_later_does_not_count_as_a_burst(scripts: Page) -> None:
    first, second = {"front_door": "a"}, {"front_door": "b"}
    other = {"front_door": "b", "m": "x"}
    looks = ([(first, 1)], [(first, 2), (second, 9000)], [(first, 2), (second, 9001), (other, 4)])
    assert grown(scripts, *looks) == [[0], [1, 0], [0, 1, 4]]


def histogram_quantile(share: float, buckets: list[tuple[float, float]]) -> float:
    """Prometheus' own, after its documentation."""
    rank = share * buckets[-1][1]
    place = next(i for i, (_, count) in enumerate(buckets) if count >= rank)
    if place == len(buckets) - 1:
        return buckets[-2][0]
    lower, below = buckets[place - 1] if place else (0.0, 0.0)
    upper, count = buckets[place]
    return lower + (upper - lower) * (rank - below) / (count - below)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.95, 1.0])
@pytest.mark.parametrize(
    "counts", [[4, 0, 3, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 5], [7, 9, 2, 1, 0], [0, 3, 0, 3, 3]]
)
def test_quantiles_are_prometheus(scripts: Page, share: float, counts: list[int]) -> None:
    bounds = [0.1, 0.5, 1.0, 2.5, math.inf]
    buckets = [(bound, float(sum(counts[: i + 1]))) for i, bound in enumerate(bounds)]
    shown = [[None if math.isinf(bound) else bound, count] for bound, count in buckets]
    script = "m.quantile(a[0], new Map(a[1].map(([b, n]) => [b ?? Infinity, n]).reverse()))"
    assert call(scripts, "watch/quantile.js", script, share, shown) == pytest.approx(histogram_quantile(share, buckets))


def test_there_is_no_quantile_of_nothing(scripts: Page) -> None:
    assert call(scripts, "watch/quantile.js", "m.quantile(0.5, new Map())") is None
    assert call(scripts, "watch/quantile.js", "m.quantile(0.5, new Map([[1, 0], [Infinity, 0]]))") is None


EVENTS = 'data: {"a": "Grüße 🦙"}\n\n: a comment\n\ndata:one\r\ndata: two\r\n\r\nevent: x\ndata: [DONE]\n\n'


def test_events_come_out_the_same_however_the_stream_is_cut(scripts: Page) -> None:
    script = (
        "a[1].map((cuts) => { const p = new m.EventParser(); const ends = [...cuts, a[0].length];"
        " return ends.flatMap((end, i) => p.push(a[0].slice(ends[i - 1] ?? 0, end))); })"
    )
    cuts = [[], *([i] for i in range(1, len(EVENTS))), list(range(1, len(EVENTS) + 1))]
    found = call(scripts, "try/sse.js", script, EVENTS, cuts)
    assert len(found) == len(cuts)
    assert all(one == ['{"a": "Grüße 🦙"}', "one\ntwo", "[DONE]"] for one in found)


def test_an_event_without_its_end_is_none(scripts: Page) -> None:
    assert call(scripts, "try/sse.js", "new m.EventParser().push('data: half\\n')") == []


def times(scripts: Page, arrivals: list[list[float]]) -> dict[str, Any]:
    script = (
        "((w) => { for (const [at, tokens] of a[0]) w.arrived(at, tokens);"
        " return {first: w.firstMs, rate: w.tokensPerS, tokens: w.tokens}; })(new m.Stopwatch(1000))"
    )
    found: dict[str, Any] = call(scripts, "try/stopwatch.js", script, arrivals)
    return found


def test_a_stopwatch(scripts: Page) -> None:
    assert times(scripts, []) == {"first": None, "rate": None, "tokens": 0}
    assert times(scripts, [[1250, 1]]) == {"first": 250, "rate": None, "tokens": 1}
    # The first bundle's tokens were computed with the prompt: only what came after them tells of the speed.
    assert times(scripts, [[1250, 3], [1500, 5], [2250, 13]]) == {"first": 250, "rate": 10, "tokens": 13}


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.03, 0.05), (1, 1), (1.01, 2), (2.2, 2.5), (26, 50), (99, 100), (1200, 2000)]
)
def test_round_ends_of_axes(scripts: Page, value: float, top: float) -> None:
    assert call(scripts, "charts/scale.js", "m.niceTop(a[0])", value) == pytest.approx(top)


def test_marks_of_time(scripts: Page) -> None:
    words = "m.timeMarks(a[0]).map((mark) => mark.words)"
    assert call(scripts, "charts/scale.js", words, 60_000) == ["now", "−15 s", "−30 s", "−45 s", "−1 min"]
    assert call(scripts, "charts/scale.js", words, 600_000)[:2] == ["now", "−2 min"]
    narrow = "m.timeMarks(a[0], 2).map((mark) => mark.words)"
    assert call(scripts, "charts/scale.js", narrow, 60_000) == ["now", "−30 s", "−1 min"]


def test_lines_are_broken_where_nothing_was_measured(scripts: Page) -> None:
    path = call(scripts, "charts/scale.js", "m.linePath([[0, 1], [1, 2], [2, null], [3, 4]])")
    assert path == "M0.0 1.0h0L1.0 2.0M3.0 4.0h0"
    assert call(scripts, "charts/scale.js", "m.runs([1, 2, 0, 3], (x) => x > 0)") == [[1, 2], [3]]


def test_spans_of_a_strip(scripts: Page) -> None:
    points = [[0, 1], [1, 1], [2, 2], [3, 0, True], [4, 0, True]]
    assert call(scripts, "charts/strip.js", "m.spans(a[0], 9)", points) == [
        {"from": 0, "to": 2, "count": 1, "alarm": False},
        {"from": 2, "to": 3, "count": 2, "alarm": False},
        {"from": 3, "to": 4, "count": 0, "alarm": True},
    ]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0042, "4.2 ms"), (0.25, "250 ms"), (1.5, "1.5 s"), (42.04, "42 s"), (300, "5 min")]
)
def test_durations(scripts: Page, seconds: float, words: str) -> None:
    assert call(scripts, "page/words.js", "m.duration(a[0])", seconds) == words


def test_failures_in_words(scripts: Page) -> None:
    words = "m.failure(a[0], a[1], a[2])"
    body = {"error": {"message": "The queue is full."}}
    assert call(scripts, "page/words.js", words, 503, body, "3") == "The queue is full. Try again in 3 s."
    assert (
        call(scripts, "page/words.js", words, 500, None, None)
        == "The server failed with status 500 and did not say why."
    )
    assert "wants an API key" in call(scripts, "page/words.js", words, 401, None, None)
