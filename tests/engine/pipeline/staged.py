"""Stages one behind the other in this process, as a pipeline over links has them: each message waits at each stage,
and so several are truly under way."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Container, Sequence
from itertools import combinations, pairwise
from typing import Generic, TypeVar

from engine.errors import StageLost
from engine.pipeline.message import Message, Stage

W = TypeVar("W")
A = TypeVar("A")


class StagedRunner(Generic[W, A]):
    """A runner over these stages. The calls of `submit` and `answer` are counted from 0, over all epochs: those in
    `losses` lose a stage, and nothing works until `repair`, which has `wipe` spoil what each stage remembers."""

    def __init__(
        self,
        stages: Sequence[Stage],
        to_message: Callable[[W], Message],
        from_message: Callable[[Message], A],
        losses: Container[int] = (),
        wipe: Callable[[Stage], None] = lambda stage: None,
    ) -> None:
        self.stages = stages
        self.depth = len(stages)
        self.to_message, self.from_message = to_message, from_message
        self.losses, self.wipe = losses, wipe
        self.inboxes: list[deque[Message]] = [deque() for _ in stages]
        self.answers: deque[Message] = deque()
        self.calls = self.repairs = self.most_under_way = 0
        self.broken = False

    def submit(self, work: W) -> None:
        self._called()
        self.inboxes[0].append(sent(self.to_message(work)))
        self.most_under_way = max(self.most_under_way, sum(map(len, self.inboxes)) + len(self.answers))

    def answer(self) -> A:
        self._called()
        while not self.answers:
            # The last stage first: each takes one message a round, as if all worked at the same time.
            for place in reversed(range(self.depth)):
                if self.inboxes[place]:
                    made = sent(self.stages[place].run(self.inboxes[place].popleft()))
                    (self.inboxes[place + 1] if place + 1 < self.depth else self.answers).append(made)
        return self.from_message(self.answers.popleft())

    def repair(self) -> None:
        assert self.broken
        for stage in self.stages:
            self.wipe(stage)
        self.inboxes = [deque() for _ in self.stages]
        self.answers.clear()
        self.broken = False
        self.repairs += 1

    def close(self) -> None:
        self.answers.clear()

    def _called(self) -> None:
        assert not self.broken, "it was not repaired"
        self.calls += 1
        if self.calls - 1 in self.losses:
            self.broken = True
            raise StageLost(f"stage {self.calls % self.depth} died")


def sent(message: Message) -> Message:
    """As it arrives: through JSON, and with tensors of its own."""
    meta = json.loads(json.dumps(message.meta, allow_nan=False))
    return Message(message.kind, meta, tuple(tensor.detach().clone().contiguous() for tensor in message.tensors))


def splits(layers: int) -> list[list[tuple[int, int]]]:
    """Every way to cut so many layers into stages: (first, last + 1) of each."""
    cuts = [cut for count in range(layers) for cut in combinations(range(1, layers), count)]
    return [list(pairwise((0, *cut, layers))) for cut in cuts]
