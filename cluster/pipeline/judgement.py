"""Which stages of a broken pipeline are kept and which are replaced, from what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_START_S = 3.0  # that a process takes to start, beside loading its stage


class Verdict(Enum):
    """KEEP: its process goes on, with its weights. REPLACE: end it, start another. AWAIT: nothing can be done yet."""

    KEEP = "keep"
    REPLACE = "replace"
    AWAIT = "await"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a stage.

    `ended`: Ray says that its process is over. `answered`: it took part in the new epoch. `silent_s`: for how long it
    has owed an answer, or could not be asked. `stuck`: it answers, but has been at one batch for too long. `reachable`:
    its node is.
    """

    ended: bool = False
    answered: bool = False
    silent_s: float = 0.0
    stuck: bool = False
    reachable: bool = True


def judge(known: Known, *, heartbeat_s: float) -> Verdict:
    """A process on a node that cannot be reached may well live, and none can be started there: wait for the node."""
    if not known.reachable:
        return Verdict.AWAIT
    if known.ended or known.stuck:
        return Verdict.REPLACE
    if known.answered:
        return Verdict.KEEP
    return Verdict.REPLACE if known.silent_s >= heartbeat_s else Verdict.AWAIT


def patience_s(left_s: float, load_s: float) -> float:
    """For how long to wait for a stage that is still at a long batch, where a repair may take `left_s` more: until it
    must be replaced for another to load in time. Where no other could, to the end."""
    spare_s = left_s - load_s - _START_S
    return spare_s if spare_s > 0 else max(0.0, left_s)
