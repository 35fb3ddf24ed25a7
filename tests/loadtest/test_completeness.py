from __future__ import annotations

from loadtest.completeness import shortfalls
from loadtest.outcome import exit_status
from loadtest.plan import Done, End
from loadtest.record import Record

RECORDS = [Record(number, "chat", "m", float(number)) for number in range(4)]


def test_a_run_that_is_whole() -> None:
    assert shortfalls(End(0.0, 2, [Done(0.0, 2), Done(0.0, 2)], planned=4), RECORDS) == []
    assert shortfalls(End(0.0, 1, [Done(0.0, 4)]), RECORDS) == []


def test_what_is_missing_is_said() -> None:
    done = Done(0.0, 2)
    assert shortfalls(End(0.0, 1, [done], planned=6), RECORDS) == ["2 of 6 planned requests were not sent."]
    assert shortfalls(End(0.0, 1, [Done(0.0, 7)]), RECORDS) == ["3 of 7 requests that were sent have no record."]
    assert shortfalls(End(0.0, 1, [done], stopped_s=12.34), RECORDS) == ["The run was broken off after 12.3 s."]
    assert shortfalls(End(0.0, 1, [Done(0.0, broken="No texts.")]), RECORDS) == ["No texts."]
    (lost,) = shortfalls(End(0.0, 3, [done], planned=4), RECORDS)
    assert lost == "2 of the client's 3 processes did not come to their end."


def test_without_records_none_are_missed() -> None:
    assert shortfalls(End(0.0, 1, [Done(0.0, 7)], planned=9), None) == []


def test_exit_statuses() -> None:
    assert [exit_status(kept, True, 3) for kept in (True, False)] == [0, 1]
    assert exit_status(True, False, 3) == exit_status(True, True, 0) == 2
