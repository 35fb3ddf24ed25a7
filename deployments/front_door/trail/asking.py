"""What the front doors tell of their records, to each other and to whoever asks one of them for all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from deployments.front_door.trail.ring import Query, Ring
from deployments.front_door.trail.view import line, shown

Elsewhere = Callable[[Query | str], Awaitable[Sequence[list[dict[str, Any]]]]]
"""A question to all other front doors' rings, and what each answers."""


async def nobody(question: Query | str) -> Sequence[list[dict[str, Any]]]:
    """There is no other front door."""
    return ()


def told(ring: Ring, question: Query | str) -> list[dict[str, Any]]:
    """The lines that fit a query, or all of the record with this id: none or one."""
    if isinstance(question, Query):
        return [line(record, ring.slow(record)) for record in ring.listed(question)]
    record = ring.find(question)
    return [] if record is None else [shown(record, ring.slow(record))]


async def asked_of_all(ring: Ring, elsewhere: Elsewhere, question: Query | str) -> list[dict[str, Any]]:
    """The same of all front doors, latest first."""
    found = [*told(ring, question), *(one for part in await elsewhere(question) for one in part)]
    found.sort(key=lambda one: -float(one["arrived_s"]))
    return found[: question.limit] if isinstance(question, Query) else found[:1]
