from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.losses import cause_of, ended_replica, given_up, translated
from deployments.run import CutOff, GivenUp
from engine.errors import EngineFailed, InvalidRequest, Overloaded, ReplicaEnded, ReplicaLost


def raised(own: Exception) -> RayTaskError:
    """As a replica's own error arrives."""
    return RayTaskError("generate", "a traceback", own)


def broken(code: grpc.StatusCode) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata())


def test_a_replicas_own_error_comes_through() -> None:
    own = InvalidRequest("no", param="x")
    assert translated(raised(own)) is own
    assert translated(own) is own


def test_a_lost_replica_is_the_engines_failure() -> None:
    assert isinstance(translated(RayActorError()), EngineFailed)


def test_a_removed_deployment_is_no_fault() -> None:
    assert isinstance(translated(DeploymentUnavailableError(DeploymentID("m--bf16", "stageline"))), Overloaded)


def test_what_is_not_rays_stays_as_it_is() -> None:
    error = ValueError("x")
    assert translated(error) is error


@pytest.mark.parametrize(
    "error",
    [
        RayActorError(),
        ActorUnavailableError("gone", None),
        CutOff("closed"),
        broken(grpc.StatusCode.UNAVAILABLE),
        broken(grpc.StatusCode.CANCELLED),
        broken(grpc.StatusCode.INTERNAL),
    ],
)
def test_what_breaks_off_is_a_death_once_the_replica_had_the_request(error: Exception) -> None:
    assert cause_of(error, taken=True) == "died"
    assert cause_of(error, taken=False) == "refused"


def test_a_replica_whose_engine_has_ended_refuses_and_one_whose_engine_ends_dies() -> None:
    ended = ReplicaEnded("ended", replica="r")
    for error in (ended, raised(ended)):  # with gRPC, Serve raises the error itself
        assert cause_of(error, taken=True) == "refused"
        assert ended_replica(error) == "r"
    assert ended_replica(ReplicaLost("ends")) is None
    assert cause_of(ReplicaLost("ends"), taken=True) == "died"


def test_silence_counts_once_the_replica_had_the_request() -> None:
    assert cause_of(GivenUp(), taken=True) == "silent"
    assert cause_of(GivenUp(), taken=False) == "refused"


def test_no_room() -> None:
    assert cause_of(raised(Overloaded("full")), taken=True) == "full"
    assert cause_of(BackPressureError(1, 1), taken=False) == "full"


@pytest.mark.parametrize(
    "error",
    [
        raised(InvalidRequest("no")),
        raised(EngineFailed("a step failed")),
        raised(ValueError("a bug")),
        DeploymentUnavailableError(DeploymentID("m", "stageline")),
        broken(grpc.StatusCode.RESOURCE_EXHAUSTED),
        ValueError("a bug of ours"),
    ],
)
def test_what_another_would_say_too_is_not_asked_again(error: Exception) -> None:
    assert cause_of(error, taken=True) is None


def test_what_the_caller_is_told_in_the_end() -> None:
    assert type(given_up(RayActorError(), deadly=True)) is EngineFailed
    assert type(given_up(RayActorError(), deadly=False)) is Overloaded
    full = Overloaded("full", retry_after_s=3)
    assert given_up(raised(full), deadly=False) is full
