from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from deployments import presence
from deployments.presence import ASK_S, QUESTIONS, RECENT_S, SILENCE_S, TICK_S, Key, Presence, Signs, silent
from deployments.run import GivenUp, Run

KEY = ("m", "v")


def test_who_is_silent_for_long_in_spite_of_questions_is_given_up() -> None:
    replicas = {"a": Signs(10 - SILENCE_S, QUESTIONS), "b": Signs(10)}
    assert silent(replicas, 10) == {"a"}


@pytest.mark.parametrize(
    "signs", [Signs(10 - SILENCE_S + 0.1, QUESTIONS), Signs(10 - SILENCE_S, QUESTIONS - 1), Signs(10.2)]
)
def test_less_is_no_proof(signs: Signs) -> None:
    assert silent({"a": signs, "b": Signs(10)}, 10) == set()


def test_where_nobody_is_heard_nobody_is_given_up() -> None:
    assert silent({"a": Signs(0, 9)}, 10) == set()
    assert silent({"a": Signs(0, 9), "b": Signs(10 - RECENT_S - 0.1, 9)}, 10) == set()


class World:
    """Replicas that answer questions, or not."""

    def __init__(self, *names: str) -> None:
        self.answering = set(names)
        self.listed: set[str] | None = set(names)
        self.shunned: set[str] = set()
        self.questions = 0
        self.presence = Presence(self.ask, lambda key: self.listed, self.shunned)
        self.presence.heard(KEY, names)

    async def ask(self, key: Key) -> Collection[str]:
        self.questions += 1
        return set(self.answering)

    async def pass_time(self, seconds: float, passed_s: float = TICK_S) -> None:
        """Tick after tick, with the questions answered between them."""
        for _ in range(round(seconds / TICK_S)):
            self.presence.tick(passed_s)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def run(self, name: str | None = None) -> Run:
        run = self.presence.begin(KEY)
        if name is not None:
            run.replica = name
            run.sign()
        return run


async def given_up(run: Run) -> bool:
    async def nothing() -> None:
        pass

    try:
        await run.wait(nothing)
    except GivenUp:
        return True
    return False


async def test_calls_to_a_silent_replica_are_given_up_and_no_others() -> None:
    world = World("a", "b")
    at_a, at_b, nowhere, over = world.run("a"), world.run("b"), world.run(), world.run("a")
    world.presence.end(KEY, over)
    world.answering = {"b"}
    await world.pass_time(SILENCE_S - 1)
    assert not world.shunned
    await world.pass_time(2)
    assert world.shunned == {"a"}
    assert [await given_up(run) for run in (at_a, at_b, nowhere, over)] == [True, False, False, False]


async def test_one_that_is_heard_again_gets_calls_again() -> None:
    world = World("a", "b")
    world.run("a")
    world.answering = {"b"}
    await world.pass_time(SILENCE_S + 1)
    assert world.shunned == {"a"}
    world.answering = {"a", "b"}
    await world.pass_time(1)
    assert world.shunned == set()


async def test_a_delta_now_and_then_is_sign_enough() -> None:
    world = World("a", "b")
    run = world.run("a")
    world.answering = {"b"}
    for _ in range(6):
        await world.pass_time(SILENCE_S / 2)
        run.sign()
    assert world.shunned == set()
    assert not await given_up(run)


async def test_without_calls_nobody_is_asked() -> None:
    world = World("a", "b")
    world.answering = set()
    await world.pass_time(10 * SILENCE_S)
    assert not world.questions
    assert not world.shunned


async def test_those_that_are_heard_are_not_asked() -> None:
    world = World("a")
    run = world.run("a")
    for _ in range(20):
        await world.pass_time(ASK_S / 2)
        run.sign()
    assert not world.questions


async def test_who_did_not_listen_cannot_tell_that_nobody_spoke() -> None:
    world = World("a", "b")
    run = world.run("a")
    world.answering = {"b"}
    world.presence.tick(60.0)
    await asyncio.sleep(0)
    world.presence.tick(60.0)
    assert not world.shunned
    assert not await given_up(run)


async def test_a_single_replica_is_waited_for() -> None:
    world = World("a")
    run = world.run("a")
    world.answering = set()
    await world.pass_time(5 * SILENCE_S)
    assert world.questions > 2
    assert not await given_up(run)
    world.listed = {"a", "b"}
    world.answering = {"b"}  # a second one has started
    await world.pass_time(2)
    assert await given_up(run)


async def test_replicas_that_get_nothing_any_more_are_forgotten() -> None:
    world = World("a", "b")
    left = world.run("a")
    world.run("b")
    world.listed = {"b"}
    world.answering = {"b"}
    await world.pass_time(1)
    world.presence.end(KEY, left)
    await world.pass_time(3 * SILENCE_S)
    assert not world.shunned


async def test_one_question_at_a_time_and_a_failing_one_ends_nothing() -> None:
    world = World("a")
    world.run("a")
    hanging = asyncio.Event()

    async def ask(key: Key) -> Collection[str]:
        world.questions += 1
        await hanging.wait()
        raise RuntimeError("no")

    world.presence = Presence(ask, lambda key: None, world.shunned)
    world.presence.heard(KEY, ["a"])
    world.presence.begin(KEY)
    await world.pass_time(5)
    assert world.questions == 1
    hanging.set()
    await world.pass_time(2)
    assert world.questions > 1


async def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "TICK_S", 0.001)
    world = World("a")
    looks = asyncio.Event()

    def fails_once(passed_s: float) -> None:
        monkeypatch.setattr(world.presence, "tick", lambda passed_s: looks.set())
        raise KeyError("a")

    monkeypatch.setattr(world.presence, "tick", fails_once)
    watching = asyncio.ensure_future(world.presence.watch())
    try:
        async with asyncio.timeout(30):
            await looks.wait()
    finally:
        watching.cancel()


async def test_a_replica_that_says_that_it_ended_is_shunned_though_it_answers() -> None:
    world = World("a", "b")
    run = world.run("b")
    world.presence.ended(KEY, "a")
    assert world.shunned == {"a"}
    await world.pass_time(ASK_S + 1)
    assert world.shunned == {"a"}
    world.listed = {"b"}  # Serve has replaced it
    await world.pass_time(TICK_S)
    assert world.shunned == set()
    world.presence.end(KEY, run)


async def test_an_ended_replica_is_no_proof_against_another() -> None:
    """Though it is heard: nobody could go on with what the other has."""
    world = World("a", "b")
    run = world.run("b")
    world.presence.ended(KEY, "a")
    world.answering = {"a"}
    await world.pass_time(2 * SILENCE_S + QUESTIONS * ASK_S)
    assert world.shunned == {"a"}
    assert not await given_up(run)
