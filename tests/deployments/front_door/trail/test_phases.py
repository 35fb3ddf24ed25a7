from __future__ import annotations

from typing import Any

import pytest

from deployments.front_door.trail.phases import phases
from deployments.front_door.trail.record import Call, Record, Visit
from engine.request import Timings


def record(*visits: Visit, task: str = "text-generation") -> Record:
    """Came at 100, was read by 101, had its tokens by 103 and its variant by 104, and ended at 120."""
    return Record(
        "r", task=task, arrived=100, read=101, choosing=103, chosen=104, ended=120, calls=[Call(1, list(visits))]
    )


def took(one: Record) -> dict[str, Any]:
    return {phase.name: pytest.approx(phase.seconds) for phase in phases(one)}


def test_a_stream() -> None:
    # The replica counts its queue from the arrival: 4 of the 6.5 s had passed when it was asked.
    visit = Visit(104.5, "a", sent=105, first=109, ended=118, timings=Timings(6.5, 1.0, 8.0))
    assert took(record(visit)) == {
        "read": 1,
        "prepare": 2.5,
        "choose": 1,
        "find": 0.5,
        "queue": 2.5,
        "prefill": 1,
        "decode": 8,
        "transit": 1.5,
        "answer": 2,
    }


def test_they_follow_each_other_and_add_up() -> None:
    one = record(Visit(104.5, "a", sent=105, first=109, ended=118, timings=Timings(6.5, 1.0, 8.0)))
    at = 0.0
    for phase in phases(one):
        assert phase.start_s == pytest.approx(at)
        at += phase.seconds
    assert at == pytest.approx(one.took_s)


def test_another_replica_goes_on() -> None:
    lost = Visit(104, "a", sent=104.5, first=106, ended=107, tokens=3, timings=Timings(4, 1, 0), cause="died")
    last = Visit(108, "b", sent=108, first=110, ended=119, timings=Timings(8, 1, 9))
    found = took(record(lost, last))
    assert found["lost"] == 4
    assert (found["queue"], found["prefill"], found["decode"]) == (1, 1, 9)
    assert sum(phase.seconds for phase in phases(record(lost, last))) == pytest.approx(20)


def test_texts_are_computed_in_one_piece() -> None:
    visit = Visit(104, "a", sent=104, first=118, ended=118, timings=Timings(5, 10, 0))
    found = took(record(visit, task="embedding"))
    assert (found["queue"], found["run"]) == (2, 10)
    assert "prefill" not in found


def test_clocks_that_differ_make_no_time_negative() -> None:
    for timings in (Timings(1000, 1, 1), Timings(0, 1000, 1000), Timings(0, 0, 0)):
        one = record(Visit(104, "a", sent=104, first=110, ended=118, timings=timings))
        assert all(phase.seconds > 0 for phase in phases(one))
        assert sum(phase.seconds for phase in phases(one)) == pytest.approx(20)


def test_whoever_waits_for_a_replica_in_vain() -> None:
    assert took(record(Visit(104, ended=119)))["find"] == 15


def test_of_several_calls_the_last_to_end_counts() -> None:
    one = record(Visit(104, "a", sent=104, first=105, ended=106, timings=Timings(3, 1, 1)))
    one.calls.append(Call(1, [Visit(110, "b", sent=110, first=119, ended=119, timings=Timings(9, 9, 0))]))
    assert took(one)["others"] == 6


def test_a_request_that_was_refused() -> None:
    refused = Record("r", arrived=100, ended=101)
    assert took(refused) == {"read": 1}
    full = Record("r", arrived=100, read=101, choosing=101, ended=103)
    assert took(full) == {"read": 1, "choose": 2}
    hopeless = Record("r", arrived=100, read=101, choosing=101, chosen=102, ended=103)
    assert took(hopeless) == {"read": 1, "choose": 1, "prepare": 1}, "its text was cut into tokens"
    wrong = Record("r", arrived=100, read=101, ended=103)
    assert took(wrong) == {"read": 1, "prepare": 2}


def test_an_answer_whose_end_the_replica_did_not_tell() -> None:
    """A stop string ended it, its caller left or its time was up; or it is written still."""
    visit = Visit(104, "a", sent=104, first=110, ended=119, timings=Timings(5, 4, 0))
    found = took(record(visit))
    assert (found["queue"], found["prefill"], found["decode"]) == (2, 4, 9)
    assert "wait" not in found
    open_still = record(Visit(104, "a", sent=104, first=110, timings=Timings(5, 4, 0)))
    open_still.ended = 0.0
    assert "decode" in took(open_still)


def test_a_caller_who_left_before_the_first_token() -> None:
    found = took(record(Visit(104, "a", sent=104, ended=119)))
    assert found["wait"] == 15
    assert not {"transit", "queue", "prefill", "decode"} & found.keys()


def test_an_answer_of_one_token_was_not_written_for_long() -> None:
    found = took(record(Visit(104, "a", sent=104, first=110, ended=110.5, timings=Timings(5, 4, 0))))
    assert found["decode"] == 0.5
