from __future__ import annotations

from loadtest.record import Record
from loadtest.verdict import client_facts


def sent(*late_ms: float) -> list[Record]:
    return [Record(i, "chat", "m", 1.0, sent_s=1.0 + late / 1000) for i, late in enumerate(late_ms)]


GOOD = {"lag_p50_ms": 0.1, "lag_p99_ms": 2.0, "lag_max_ms": 30.0, "cpu_share": 0.2}


def test_the_worst_process_counts_and_all_can_be_well() -> None:
    facts = client_facts([GOOD, {**GOOD, "cpu_share": 0.5}], sent(0, 1, 2))
    assert facts["cpu_share"] == 0.5
    assert facts["verdict"] == ""


def test_each_complaint_has_its_reason() -> None:
    assert "of a core" in client_facts([{**GOOD, "cpu_share": 0.95}], sent(0))["verdict"]
    assert "loop" in client_facts([{**GOOD, "lag_p99_ms": 50.0}], sent(0))["verdict"]
    late = client_facts([GOOD], [*sent(100.0), Record(9, "chat", "m", 1.0)])
    assert "sent 100 ms late" in late["verdict"]
    assert "35 ms off the master's" in client_facts([GOOD, {**GOOD, "clock_apart_ms": 35.0}], sent(0))["verdict"]
    limited = Record(0, "chat", "m", 1.0, failure="client", message="OSError: Too many open files")
    assert "1 requests could not be sent: OSError" in client_facts([GOOD], [*sent(0), limited])["verdict"]


def test_nothing_measured_is_no_error() -> None:
    assert client_facts([], [])["verdict"] == ""
