from __future__ import annotations

from cluster.pipeline.clock import Traced
from deployments.tracing.stages import StageTimes, Work
from engine.errors import EngineFailed


def batch(started: float, computed: float) -> Traced:
    return Traced(1, "step", 1, started, started, computed, computed + 0.25)


class Pipeline:
    def __init__(self, *taken: list[list[Traced]] | Exception) -> None:
        self.taken = list(taken)
        self.on = 0

    def trace(self, *, on: bool) -> None:
        self.on += on

    def take_trace(self) -> list[list[Traced]]:
        found = self.taken.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def test_what_each_stage_computed_in_a_time() -> None:
    first, second = [batch(0, 1), batch(2, 3), batch(4, 6)], [batch(1, 2), batch(9, 10)]
    stages = StageTimes(Pipeline([first, second], [[batch(6, 7)], []]))
    assert stages.between(2, 5) == [Work(0, 2, 5, batches=2, busy_s=2.0, sending_s=0.5)]
    assert stages.between(0, 20) == [
        Work(0, 0, 7, batches=4, busy_s=5.0, sending_s=1.0),
        Work(1, 1, 10, batches=2, busy_s=2.0, sending_s=0.5),
    ]


def test_stages_are_told_once_in_a_while() -> None:
    pipeline = Pipeline()
    stages = StageTimes(pipeline)
    stages.begin()
    stages.begin()
    assert pipeline.on == 1


def test_stages_that_cannot_be_asked_have_no_spans() -> None:
    stages = StageTimes(Pipeline(EngineFailed("no"), [[batch(0, 1)]]))
    assert stages.between(0, 1) == []
    assert len(stages.between(0, 1)) == 1
