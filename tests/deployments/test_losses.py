from __future__ import annotations

import pytest

from deployments.channels.channel import ChannelLost
from deployments.losses import cause_of, given_up
from deployments.retries import Cause
from deployments.run import GivenUp
from engine.errors import DeadlineExceeded, EngineFailed, InvalidRequest, Overloaded, ReplicaEnded, ReplicaLost


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ChannelLost("closed"), "died"),
        (ReplicaLost("its engine ends"), "died"),
        (ReplicaEnded("its engine had ended", replica="r"), "refused"),
        (GivenUp(), "silent"),
        (Overloaded("full"), "full"),
        (InvalidRequest("no"), None),
        (DeadlineExceeded("late"), None),
        (EngineFailed("a step failed"), None),
        (ValueError("x"), None),
    ],
)
def test_how_a_replica_failed(error: Exception, cause: Cause | None) -> None:
    assert cause_of(error) == cause


def test_what_the_caller_is_told_in_the_end() -> None:
    full = Overloaded("full", retry_after_s=3)
    assert given_up(full, deadly=False) is full
    assert isinstance(given_up(ChannelLost("closed"), deadly=False), Overloaded)
    assert isinstance(given_up(ReplicaLost("lost"), deadly=True), EngineFailed)
    assert not isinstance(given_up(ReplicaLost("lost"), deadly=True), ReplicaLost)
