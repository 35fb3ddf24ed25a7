"""What the engine's steps gained and nobody was told yet. Under load each telling is a wake-up for every stream."""

from __future__ import annotations

from engine.engine import Output

FLUSH_S = 0.04
CROWD = 16  # with fewer streams each token goes at once


class Outbox:
    """Used by the engine's thread alone. Tokens wait for at most a step longer than `FLUSH_S`, and only in a crowd;
    a request's first tokens and its end never wait, and take along what does."""

    def __init__(self) -> None:
        self._held: list[Output] = []
        self._begun: set[str] = set()  # requests in the last step that was told
        self._flushed_s = 0.0

    def add(self, outputs: list[Output], now_s: float) -> list[Output]:
        """Takes a step's outputs and returns what to tell now: nothing, or all there is. `now_s` never goes back."""
        self._held += outputs
        pressing = any(delta.finish_reason is not None or name not in self._begun for name, delta in outputs)
        if len(outputs) >= CROWD and not pressing and now_s - self._flushed_s < FLUSH_S:
            return []
        self._begun = {name for name, delta in outputs if delta.finish_reason is None}
        self._flushed_s = now_s
        told, self._held = self._held, []
        return told
