"""What is made of the times at which stages computed their batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployments.bench.pipeline.timeline import Span, busy, chrome_trace, draw, hops, median_hop_ms


def spans() -> list[Span]:
    """Two stages, three batches; the second stage waits 1 ms for each, but 5 for the last."""
    found = []
    for number in range(3):
        at = 100.0 + 0.010 * number
        late = 0.005 if number == 2 else 0.001
        found.append(Span(0, number, 4, at - 0.001, at, at + 0.010, at + 0.0105))
        found.append(Span(1, number, 4, at + 0.0106, at + 0.010 + late, at + 0.016 + late, at + 0.017 + late))
    return found


def test_hops_lie_between_stages() -> None:
    assert hops(spans()) == pytest.approx([0.001, 0.001, 0.005])
    assert median_hop_ms(spans()) == pytest.approx(1.0)
    assert hops(spans()[::2]) == []  # a stage whose trace was not taken


def test_busy_is_the_share_of_the_whole_time() -> None:
    whole = 0.020 + 0.010 + 0.005 + 0.006
    assert busy(spans(), 2) == pytest.approx([0.030 / whole, 0.018 / whole])
    assert busy([], 2) == [0.0, 0.0]


def test_the_trace_is_chromes(tmp_path: Path) -> None:
    events = json.loads(json.dumps(chrome_trace(spans())))["traceEvents"]
    assert {event["args"]["name"] for event in events if event["ph"] == "M"} == {"stage 0", "stage 1"}
    computed = [event for event in events if event["ph"] == "X" and event["name"] != "send"]
    assert [event["dur"] for event in computed if event["pid"] == 0] == pytest.approx([10_000.0] * 3)
    assert min(event["ts"] for event in computed) == pytest.approx(1000.0)
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")
    draw(spans(), "two stages", tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").stat().st_size > 1000
