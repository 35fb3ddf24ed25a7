"""A pipeline in one process: stages that compute when an answer is asked for, so that work is truly under way, and that
can be lost."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence

from engine.errors import StageLost
from engine.pipeline.message import Message, Stage


def over_the_wire(message: Message) -> Message:
    """As the next process gets it."""
    meta = json.loads(json.dumps(message.meta))
    return Message(message.kind, meta, tuple(tensor.clone() for tensor in message.tensors))


class StagedPipeline:
    """`loses(n)` says whether a stage dies while the n-th answer is waited for; `renew` makes new stages then."""

    def __init__(
        self,
        stages: Sequence[Stage],
        loses: Callable[[int], bool] = lambda answer: False,
        renew: Callable[[], Sequence[Stage]] | None = None,
    ) -> None:
        self.stages = stages
        self.loses, self.renew = loses, renew
        self.waiting: deque[Message] = deque()
        self.broken = False
        self.answers = self.repairs = self.most_under_way = 0

    @property
    def depth(self) -> int:
        return len(self.stages)

    def submit(self, message: Message) -> None:
        assert not self.broken
        self.waiting.append(over_the_wire(message))
        self.most_under_way = max(self.most_under_way, len(self.waiting))
        assert len(self.waiting) <= self.depth

    def answer(self) -> Message:
        self.answers += 1
        if self.loses(self.answers):
            self.broken = True
            raise StageLost("a stage was lost")
        message = self.waiting.popleft()
        for stage in self.stages:
            message = over_the_wire(stage.run(message))
        return message

    def repair(self) -> None:
        assert self.broken
        self.broken = False
        self.repairs += 1
        self.waiting.clear()
        if self.renew is not None:
            self.stages = self.renew()

    def close(self) -> None:
        self.waiting.clear()
