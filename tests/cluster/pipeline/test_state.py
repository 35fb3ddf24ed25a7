from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.pipeline.state import Shares, StageState, bubble, layer_range

STAGE = StageState(
    index=0,
    layers="0-18",
    node="n1",
    pid=11,
    state="ready",
    memory_bytes=500,
    peak_memory_bytes=600,
    weight_bytes=300,
    cache_bytes=100,
    load_s=1.234,
    batches=7,
    restarts=0,
    shares=Shares(0.6, 0.3, 0.1, 1.0),
)


def doing(busy: float, active: float) -> StageState:
    return replace(STAGE, shares=Shares(busy, 1 - busy, 0.0, active))


def test_layers_are_written_with_the_last_one_included() -> None:
    assert [layer_range(0, 19), layer_range(19, 30), layer_range(4, 5)] == ["0-18", "19-29", "4"]


def test_the_bubble_is_what_is_lost_while_there_is_work() -> None:
    assert bubble([doing(0.6, 1.0), doing(0.4, 1.0)]) == pytest.approx(0.5)
    assert bubble([doing(0.2, 0.8)]) == pytest.approx(0.75)
    assert bubble([doing(0.9, 0.8)]) == 0, "measured at different times: never below 0"


def test_without_work_or_stages_there_is_no_bubble() -> None:
    assert bubble([doing(0.0, 0.0)]) is None
    assert bubble([]) is None
