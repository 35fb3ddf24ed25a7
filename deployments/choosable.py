"""Which replicas this process may send to, as far as it knows better than Serve. One place for the whole process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

SHUNNED: set[str] = set()
"""Names of replicas, of all deployments, that nothing is heard of."""

LISTED: dict[str, Callable[[], list[str]]] = {}
"""The names of the replicas that Serve would send to, by deployment."""

_ON_CHANGE: dict[str, Callable[[], object]] = {}


def on_change(deployment: str, call: Callable[[], object]) -> None:
    """Has this called, in whatever thread, whenever Serve tells of another list."""
    _ON_CHANGE[deployment] = call


def list_changed(deployment: str, names: Callable[[], list[str]]) -> None:
    """Serve has told which replicas there are: `names` gives them."""
    LISTED[deployment] = names
    if (call := _ON_CHANGE.get(deployment)) is not None:
        call()


def listed(deployment: str) -> list[str] | None:
    """The names of the replicas that requests may be sent to; None before Serve knew of any."""
    names = LISTED.get(deployment)
    return None if names is None else names()


def around(
    chosen: Sequence[Sequence[T]], candidates: Sequence[T], shunned: set[str], name_of: Callable[[T], str]
) -> list[list[T]]:
    """The choice without the shunned; all candidates that are not, where nothing is left; as it was where all are."""
    heard = [[one for one in rank if name_of(one) not in shunned] for rank in chosen]
    if any(heard):
        return [rank for rank in heard if rank]
    left = [one for one in candidates if name_of(one) not in shunned]
    return [left] if left else [list(rank) for rank in chosen]
