from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.pipeline.state import StageState, bubble, layer_range

STAGE = StageState(
    index=0,
    layers="0-18",
    node="n1",
    pid=11,
    memory_bytes=500,
    weight_bytes=300,
    cache_bytes=100,
    busy=0.6,
    waiting=0.3,
    sending=0.1,
    state="ready",
)


def test_layers_are_written_with_the_last_one_included() -> None:
    assert [layer_range(0, 19), layer_range(19, 30), layer_range(4, 5)] == ["0-18", "19-29", "4"]


def test_the_bubble_is_what_is_lost_while_there_is_work() -> None:
    stages = [STAGE, replace(STAGE, index=1, busy=0.4)]
    assert bubble(stages, in_flight=1.0) == pytest.approx(0.5)
    assert bubble(stages, in_flight=0.5) == 0
    assert bubble([replace(STAGE, busy=0.2)], in_flight=0.8) == pytest.approx(0.75)
    assert bubble([replace(STAGE, busy=0.9)], in_flight=0.8) == 0, "measured at different times: never below 0"


def test_without_work_or_stages_there_is_no_bubble() -> None:
    assert bubble([STAGE], in_flight=0) is None
    assert bubble([], in_flight=1) is None
