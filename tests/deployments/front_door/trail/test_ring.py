from __future__ import annotations

import pytest

from deployments.front_door.trail.record import LONGEST_ERROR, MOST_CALLS, MOST_VISITS, Call, Record, Visit
from deployments.front_door.trail.ring import Query, Ring
from engine.errors import InvalidRequest, Overloaded
from tests.deployments.routing.test_choice import pool, ready
from tests.deployments.routing.test_explain import situation


def ended(ring: Ring, name: str, took_s: float = 0.1, status: int = 200, missed: tuple[str, ...] = ()) -> Record:
    record = Record(name, arrived=10.0, model="m")
    ring.begin(record)
    record.ended, record.status, record.missed = 10.0 + took_s, status, missed
    ring.end(record)
    return record


def names(ring: Ring, query: Query | None = None) -> list[str]:
    return [record.id for record in ring.listed(query or Query())]


def test_what_is_open_is_listed_until_it_ends() -> None:
    ring = Ring()
    record = Record("a", arrived=1.0)
    ring.begin(record)
    assert names(ring) == []
    assert names(ring, Query("open")) == ["a"]
    assert ring.find("a") is record
    record.ended = 2.0
    ring.end(record)
    assert names(ring, Query("open")) == []
    assert names(ring) == ["a"]


def test_the_latest_are_kept_and_slow_and_failed_ones_longer() -> None:
    ring = Ring(recent=3, kept=2)
    ended(ring, "slow", missed=("ttft",))
    ended(ring, "failed", status=500)
    for i in range(4):
        ended(ring, f"fine{i}")
    assert names(ring) == ["fine3", "fine2", "fine1", "failed", "slow"]
    assert names(ring, Query("slow")) == ["slow"]
    assert names(ring, Query("failed")) == ["failed"]
    for i in range(6):
        ended(ring, f"slow{i}", missed=("tpot",))
    assert names(ring) == ["slow5", "slow4", "slow3", "slow2", "slow1"], "no more than there is room for"
    assert ring.find("slow") is None


def test_whoever_asks_over_his_limits_pushes_nobody_out_of_what_is_kept() -> None:
    ring = Ring(recent=2, kept=2)
    ended(ring, "slow", missed=("ttft",))
    for i in range(9):
        ended(ring, f"over{i}", status=429)
    assert names(ring) == ["over8", "over7", "slow"]


@pytest.mark.parametrize(
    ("first", "ended_at", "slow"), [(0.0, 10.6, True), (0.0, 10.4, False), (10.4, 70.0, False), (10.6, 10.7, True)]
)
def test_a_caller_who_gave_up_was_slow_where_the_first_word_came_too_late(
    first: float, ended_at: float, slow: bool
) -> None:
    record = Record("gone", arrived=10.0, ended=ended_at, gone=True)
    record.situation = situation(ready("bf16", pool()))  # half a second is promised
    record.calls = [Call(1, [Visit(10.0, "a", 10.0, first)])]
    assert Ring().slow(record) == slow
    record.gone = False
    assert not Ring().slow(record)


def test_slow_is_what_took_so_long_where_that_is_said() -> None:
    ring = Ring(slow_s=1.0)
    ended(ring, "long", took_s=2.0)
    ended(ring, "short", missed=("ttft",))
    assert names(ring, Query("slow")) == ["long"]


def test_a_list_is_cut_and_sorted_by_model() -> None:
    ring = Ring()
    for i in range(5):
        ended(ring, f"r{i}").model = "even" if i % 2 == 0 else "odd"
    assert names(ring, Query(model="even", limit=2)) == ["r4", "r2"]


@pytest.mark.parametrize(
    ("status", "gone", "error", "failed"),
    [
        (200, False, "", False),
        (200, False, "EngineFailed", True),  # in the middle of a stream
        (200, True, "", False),
        (400, False, "InvalidRequest", False),
        (408, False, "DeadlineExceeded", True),
        (429, False, "CallerOverShare", True),
        (503, False, "Overloaded", True),
        (500, False, "", True),
    ],
)
def test_what_counts_as_failed(status: int, gone: bool, error: str, failed: bool) -> None:
    assert Record("r", status=status, gone=gone, error=error).failed is failed


def test_errors_about_what_was_sent_are_kept_without_their_words() -> None:
    record = Record("r")
    record.fail(InvalidRequest("'stop': you wrote: secret", param="stop"))
    assert (record.error, record.message) == ("InvalidRequest", "")
    record.fail(Overloaded("x" * 10_000))
    assert (record.error, len(record.message)) == ("Overloaded", LONGEST_ERROR)
    record = Record("r")
    record.fail(ValueError("secret"))
    assert (record.error, record.message) == ("ValueError", "")


def test_a_record_stays_small() -> None:
    record = Record("r")
    for _ in range(10 * MOST_CALLS):
        call = record.add(Call())
    assert (len(record.calls), record.more_calls) == (MOST_CALLS, 9 * MOST_CALLS)
    assert record.calls[-1] is call
    for _ in range(10 * MOST_VISITS):
        visit = call.visit()
    assert len(call.visits) == MOST_VISITS
    assert call.visits[-1] is visit


def test_of_several_answers_the_slowest_counts() -> None:
    record = Record("r")
    record.answered((), 0.2, 0.03)
    record.answered(("ttft",), 0.7, None)
    record.answered((), 0.3, 0.05)
    assert (record.first_s, record.token_s, record.missed) == (0.7, 0.05, ("ttft",))


def test_what_is_not_kept_pushes_nothing_out() -> None:
    ring = Ring(recent=1)
    ended(ring, "mine")
    theirs = Record("theirs")
    ring.begin(theirs)
    assert names(ring, Query("open")) == ["theirs"]
    ring.end(theirs, keep=False)
    assert names(ring, Query("open")) == []
    assert names(ring) == ["mine"]


def test_a_request_has_reached_a_replica_once_one_was_asked() -> None:
    record = Record("r")
    assert not record.reached
    record.add(Call()).visit()
    later = record.add(Call()).visit()
    assert not record.reached
    later.sent = 1.0
    assert record.reached
