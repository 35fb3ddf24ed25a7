"""Counts the tokens of one HTTP request."""

from __future__ import annotations

from typing import Any

from deployments.front_door.plan import Job, Plan
from deployments.front_door.text_state import Piece


class Usage:
    """A prompt counts once, however many answers it gets. Its cached tokens are those of its first answer: the
    others find in the cache what that one put there."""

    def __init__(self, plan: Plan) -> None:
        first = {job.prompt_index: job for job in reversed(plan.jobs)}
        self._first = {job.index for job in first.values()}
        self._prompt_tokens = sum(len(job.prompt.tokens) for job in first.values())
        self._cached: dict[int, int] = {}
        self._completion_tokens = 0

    def add(self, job: Job, piece: Piece) -> None:
        self._completion_tokens += piece.tokens
        if piece.cached_tokens and job.index in self._first:
            self._cached[job.index] = piece.cached_tokens

    def body(self) -> dict[str, Any]:
        """The `usage` object."""
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self._prompt_tokens + self._completion_tokens,
            "prompt_tokens_details": {"cached_tokens": sum(self._cached.values())},
        }
