"""One sentence on its way through the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from engine.request import SamplingParams
from engine.seq2seq.request import Decoding, TranslateRequest
from engine.seq2seq.slots import Ids
from engine.seq2seq.strands import sampling_params

Method = Literal["greedy", "sampling", "beam"]


@dataclass(slots=True, eq=False)
class Sentence:
    """A request and what the engine notes of it; the engine alone sets the fields."""

    request: TranslateRequest
    order: int
    started_s: float = 0.0  # when its encoder began, the last time
    source_slots: Ids = field(default_factory=lambda: np.zeros(0, np.int32))  # of its source tokens, while it runs
    steps: int = 0  # decoder steps it took part in since then
    method: Method = field(init=False)
    width: int = field(init=False)  # hypotheses that run side by side
    draws: list[SamplingParams] = field(init=False)  # one a hypothesis, where they are drawn

    def __post_init__(self) -> None:
        self.method, self.width = method_of(self.request.decoding)
        self.draws = sampling_params(self.request.decoding) if self.method == "sampling" else []

    @property
    def rank(self) -> tuple[int, int]:
        return self.request.priority, self.order


def method_of(decoding: Decoding) -> tuple[Method, int]:
    """How a sentence is decoded, and with how many hypotheses side by side."""
    if decoding.beams > 1:
        return "beam", decoding.beams
    if decoding.temperature == 0 or decoding.top_k == 1:
        return "greedy", 1
    return "sampling", decoding.hypotheses
