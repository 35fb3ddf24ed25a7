"""Who may add to the work when there is a queue. Pure."""

from __future__ import annotations

from dataclasses import dataclass

ALPHA = 8.0
"""A caller may hold up to this many times the room that is free: alone 8/9 of all room, two callers 8/17 each. So there
is always room for a new one, and whoever holds little gets in while others are refused."""


@dataclass(frozen=True, slots=True)
class Held:
    """Requests, or tokens, that are open: of one caller, of all together, and how many there is room for."""

    mine: float
    all: float
    room: float


def may_add(held: Held, more: float, weight: float = 1.0) -> bool:
    """Whether a caller may bring so much more.

    Dynamic thresholds, after Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches"
    (1998): nobody's share has to be fixed, for which one would have to know how many callers will come. A caller who
    holds nothing is never refused here. Of callers who want all they can get, one of twice the `weight` has twice as
    much.
    """
    return held.mine <= 0 or held.mine + more <= weight * ALPHA * max(0.0, held.room - held.all)
