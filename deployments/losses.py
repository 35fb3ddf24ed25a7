"""What goes wrong between the front door and a replica: how it failed, and what the caller is told."""

from __future__ import annotations

import logging

import grpc
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.retries import Cause
from deployments.run import CutOff, GivenUp
from engine.errors import EngineFailed, Overloaded, ReplicaEnded, ReplicaLost, StagelineError

log = logging.getLogger(__name__)

NOT_READY = "no replica of this model is ready; try again later"


def lost(error: Exception) -> bool:
    """Whether the replica went away, as against having answered with an error."""
    if isinstance(error, grpc.aio.AioRpcError):  # Serve makes Ray's error of one status only
        return error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED  # that is a message over its limit
    return isinstance(error, CutOff | RayError) and not isinstance(
        error, RayTaskError | BackPressureError | DeploymentUnavailableError
    )


def cause_of(error: Exception, taken: bool) -> Cause | None:
    """How the replica failed a call, which Serve had told to be `taken` by it; None where another replica would say the
    same."""
    own = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(own, ReplicaLost):
        return "refused" if isinstance(own, ReplicaEnded) else "died"
    if isinstance(own, Overloaded | BackPressureError):
        return "full"
    if isinstance(error, GivenUp):
        return "silent" if taken else "refused"
    if lost(error):
        return "died" if taken else "refused"
    return None


def ended_replica(error: Exception) -> str | None:
    """The name of a replica that told that it had stopped working."""
    own = error.cause if isinstance(error, RayTaskError) else error
    return own.replica if isinstance(own, ReplicaEnded) else None


def given_up(error: Exception, deadly: bool) -> Exception:
    """What the caller is told of a request that is not tried again."""
    if deadly:
        return EngineFailed("one replica after another was lost while it computed this request; it is not tried again")
    own = translated(error)
    return own if isinstance(own, Overloaded) else Overloaded(NOT_READY, retry_after_s=5.0)


def translated(error: Exception) -> Exception:
    """What Ray raises, as one of ours: the replica's own error, or that the replica is gone."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, StagelineError):
        return cause
    if isinstance(error, BackPressureError):
        return Overloaded("too many requests are waiting already; try again later")
    if isinstance(error, DeploymentUnavailableError):
        return Overloaded("this model is being removed or replaced; try again later")
    if isinstance(error, RayError):
        log.error("a replica failed in mid-request: %s", error)
        return EngineFailed("the replica that computed this answer died; try again")
    return error
