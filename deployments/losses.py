"""What goes wrong between the front door and a replica: how it failed, and what the caller is told."""

from __future__ import annotations

from deployments.retries import Cause
from deployments.run import GivenUp
from engine.errors import EngineFailed, Overloaded, ReplicaEnded, ReplicaLost

NOT_READY = "no replica of this model is ready; try again later"


def cause_of(error: Exception) -> Cause | None:
    """How a replica failed a call; None where another replica would say the same."""
    match error:
        case ReplicaEnded():
            return "refused"
        case ReplicaLost():
            return "died"
        case Overloaded():
            return "full"
        case GivenUp():
            return "silent"
    return None


def given_up(error: Exception, deadly: bool) -> Exception:
    """What the caller is told of a request that is not tried again."""
    if deadly:
        return EngineFailed("one replica after another was lost while it computed this request; it is not tried again")
    return error if isinstance(error, Overloaded) else Overloaded(NOT_READY, retry_after_s=5.0)
