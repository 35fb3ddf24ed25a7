"""Which replicas this process may send to, as far as it knows better than Serve. One place for the whole process."""

from __future__ import annotations

from collections.abc import Callable

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
