"""Which requests stages are lost over: one that kills whatever computes it must not go on doing so for ever."""

from __future__ import annotations

from collections.abc import Iterable

from engine.errors import EngineFailed

LOSSES_IN_A_ROW = 3  # of stages that computed a request, without a gain between them


class Blame:
    """Counts losses by request. Forgets a request when it gains something, and when it is given up."""

    def __init__(self) -> None:
        self._losses: dict[str, int] = {}

    def lost(self, under_way: Iterable[str]) -> list[str]:
        """A stage was lost while these requests were computed: those that are not to be tried again."""
        counts = {request_id: self._losses.get(request_id, 0) + 1 for request_id in sorted(set(under_way))}
        guilty = [request_id for request_id, losses in counts.items() if losses >= LOSSES_IN_A_ROW]
        self._losses = {request_id: losses for request_id, losses in counts.items() if losses < LOSSES_IN_A_ROW}
        return guilty

    def gained(self, request_id: str) -> None:
        """It is not the request's fault, whatever was lost before."""
        if self._losses:
            self._losses.pop(request_id, None)

    @staticmethod
    def error() -> EngineFailed:
        """What a request is told that is not tried again."""
        return EngineFailed("stage after stage was lost while it computed this request; it is not tried again")
