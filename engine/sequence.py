"""A request on its way through the engine. Owned by the engine's loop; the scheduler moves it, the engine fills it."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.request import Request, TokenLogprobs
from engine.sampling.row import Row


@dataclass(slots=True, eq=False)
class Sequence:
    """`tokens` is prompt + generated; the cache holds the first `computed` of them, in `blocks`, or will when the steps
    that are under way have ended: then it does hold the first `landed`.

    `hashed` blocks have been remembered, the last under `parent`. Times are `time.time()` seconds.
    """

    request: Request
    order: int  # of arrival; breaks ties within a priority
    row: Row
    tokens: list[int]
    running: bool = False
    computed: int = 0
    landed: int = 0
    epoch: int = 0  # how often it gave its blocks back; what a step computed for an earlier epoch is of no use
    blocks: list[int] = field(default_factory=list)
    hashed: int = 0
    parent: bytes = b""
    admitted: bool = False  # was running at least once
    cached: int = 0  # prompt tokens that others left in the prefix cache
    started_s: float = 0.0
    first_token_s: float = 0.0
    reported: bool = False  # the first delta is out
    prompt_logprobs: list[TokenLogprobs | None] = field(default_factory=list)

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts by who goes first."""
        return (self.request.priority, self.order)

    @property
    def missing(self) -> int:
        """Tokens to compute before the next can be sampled; 0 while that is under way."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        return len(self.tokens) - len(self.request.prompt)
