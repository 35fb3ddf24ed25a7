"""What a crew makes of its stages' answers, without Ray."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from cluster.pipeline import actors
from cluster.pipeline.crew import Crew, NotYet
from cluster.pipeline.handshake import Membership, Place
from cluster.pipeline.limits import Limits
from cluster.pipeline.placement import Resources
from cluster.pipeline.stage import Born, Loaded
from engine.errors import EngineFailed
from tests.cluster.pipeline.stages import Adding

PLACES = [Place(Membership.new(), 1, link) for link in range(3)]
AWAY = ActorUnavailableError("the connection broke", b"0" * 16)


class Method:
    def __init__(self, actor: Actor, name: str) -> None:
        self.actor, self.name = actor, name

    def remote(self, *_: Any) -> tuple[Actor, str]:
        return self.actor, self.name


class Actor:
    """Answers calls with what `says` holds by name; what is not there does not come in time."""

    def __init__(self, **says: Any) -> None:
        self.says = says

    def __getattr__(self, name: str) -> Method:
        return Method(self, name)


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Crew:
    """Two stages on two nodes. Nothing is waited for, all nodes can be reached."""

    def answers(calls: dict[int, Any], timeout_s: float) -> dict[int, Any]:
        return {index: actor.says[name] for index, (actor, name) in calls.items() if name in actor.says}

    monkeypatch.setattr(actors, "answers", answers)
    monkeypatch.setattr(actors, "reachable", lambda address: True)
    crew = Crew([partial(Adding, 0), partial(Adding, 1)], ["0", "1"], 1, Resources(), Limits(), spares=False)
    crew._nodes = {"n0": ("192.0.2.1", 1), "n1": ("192.0.2.2", 1)}
    for index, seat in enumerate(crew.seats):
        seat.actor = Actor(listen=("192.0.2.1", 10 + index), free=True)
        seat.born, seat.loaded = Born(10 + index, 0.0, f"n{index}"), Loaded(1, 1, 1, 1, 0.1)
    return crew


@pytest.fixture
def replaced(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """Which stages were replaced, time by time."""
    calls: list[set[int]] = []

    def replace(indices: set[int], deadline: float) -> None:
        calls.append(set(indices))
        for index in indices:
            crew.seats[index].actor = Actor(listen=("192.0.2.1", 20 + index), free=True)

    monkeypatch.setattr(crew, "_replace", replace)
    return calls


def gather(crew: Crew) -> tuple[list[Any], set[int]]:
    return crew.gather(PLACES, [], time.monotonic() + 10.0)


def test_who_answers_is_kept(crew: Crew, replaced: list[set[int]]) -> None:
    assert gather(crew) == ([("192.0.2.1", 10), ("192.0.2.1", 11)], set())
    assert replaced == [set()]


@pytest.mark.parametrize("says", [{}, {"listen": ActorDiedError()}])
def test_who_is_dead_or_silent_is_replaced(crew: Crew, replaced: list[set[int]], says: dict[str, Any]) -> None:
    crew.seats[1].actor = Actor(**says)
    assert gather(crew) == ([("192.0.2.1", 10), ("192.0.2.1", 21)], {1})


def test_who_cannot_be_asked_for_a_moment_is_asked_again(crew: Crew, replaced: list[set[int]]) -> None:
    healthy, crew.seats[1].actor = crew.seats[1].actor, Actor(listen=AWAY)
    for _ in range(2):
        with pytest.raises(NotYet, match=r"stage 1 cannot be asked: .*the connection broke") as raised:
            gather(crew)
        assert not raised.value.unreachable
    assert replaced == []
    away, crew.seats[1].actor = crew.seats[1].actor, healthy
    assert gather(crew)[1] == set()
    assert crew.seats[1].unasked_since is None
    crew.seats[1].actor, crew.seats[1].unasked_since = away, time.monotonic() - Limits().heartbeat_s
    assert gather(crew)[1] == {1}, "it has been like that for as long as a stage may be silent"


def test_a_node_that_cannot_be_reached_is_told(
    crew: Crew, replaced: list[set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.seats[1].actor = Actor()
    monkeypatch.setattr(actors, "reachable", lambda address: address[0] != "192.0.2.2")
    with pytest.raises(NotYet, match="node of stage 1") as raised:
        gather(crew)
    assert raised.value.unreachable


def test_why_a_stage_cannot_listen_is_told_at_once(crew: Crew, replaced: list[set[int]]) -> None:
    crew.seats[0].actor = Actor(listen=OSError("cannot assign requested address"))
    with pytest.raises(EngineFailed, match=r"Stage 0 cannot listen at 192\.0\.2\.1: OSError: cannot assign"):
        gather(crew)
    assert replaced == []


def test_who_stays_busy_is_replaced(crew: Crew, replaced: list[set[int]]) -> None:
    crew.seats[0].actor = Actor(listen=("192.0.2.1", 10), free=False)
    assert gather(crew) == ([("192.0.2.1", 20), ("192.0.2.1", 11)], {0})


def test_a_stage_that_loaded_but_does_not_say_who_it_is_is_not_yet_there(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = crew.seats[0].loaded
    monkeypatch.setattr(crew, "_start", lambda index: Actor(load=loaded))
    monkeypatch.setattr(crew, "_end", lambda actor, born: None)
    with pytest.raises(NotYet, match="could not be started: it does not say which process it is"):
        crew._replace({0}, time.monotonic())


def test_addresses_are_told_without_asking(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> dict[str, tuple[str, int]]:
        raise AssertionError("it asked")

    monkeypatch.setattr(actors, "node_addresses", ask)
    crew.seats[1].born = Born(1, 0.0, "a new node")
    assert [crew.address(index) for index in range(2)] == ["192.0.2.1", ""]
    crew.seats[0].born = None
    assert crew.address(0) == ""


def test_nothing_is_started_after_closing(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_room", object())
    crew.close()
    with pytest.raises(EngineFailed, match="closed"):
        crew._start(0)
