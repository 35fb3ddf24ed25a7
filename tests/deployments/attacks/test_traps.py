from __future__ import annotations

from pathlib import Path

import pytest

from deployments.attacks import child, traps
from deployments.attacks.case import Case
from deployments.attacks.child import judge, walk_into
from deployments.attacks.groups import GROUPS, cases_of
from engine.errors import CheckpointError

SLOW = {"a header of 90 MB of brackets", "a header of 90 MB of spaces", "a header nested 10 million deep"}
SLOW |= {"1.5 million empty tensors", "weights of 1 TiB of holes"}


def _quick(group: str) -> list[Case]:
    """Those that take no seconds: the command makes all of them."""
    return [
        case
        for case in cases_of(group)
        if case.name not in SLOW and "128 MiB" not in case.name and "two billion" not in case.name
    ]


@pytest.mark.parametrize("group", ["safetensors", "gguf", "folders", "wheels"])
def test_hostile_files_are_refused_by_name(group: str) -> None:
    faults = [fault for case in _quick(group) for fault in judge(case, {**walk_into(case), "seconds": 0}, 1.0)]
    assert faults == []


def test_every_group_has_a_sound_case_and_names_that_tell_cases_apart() -> None:
    for group in GROUPS:
        cases = cases_of(group)
        assert len({case.name for case in cases}) == len(cases)
        assert any(case.refused for case in cases)


def _raises(error: BaseException) -> Case:
    def act(folder: Path) -> None:
        raise error

    return Case("made", act)


def test_another_error_is_a_fault_and_so_is_none() -> None:
    sound = Case("sound", lambda folder: None, refused=())
    assert judge(_raises(CheckpointError("no")), walk_into(_raises(CheckpointError("no"))), 9.0) == []
    assert "KeyError" in judge(_raises(KeyError("x")), walk_into(_raises(KeyError("x"))), 9.0)[0]
    assert "let through" in judge(_raises(CheckpointError("no")), walk_into(sound), 9.0)[0]
    assert judge(sound, walk_into(sound), 9.0) == []
    assert "harmless" in judge(sound, walk_into(_raises(CheckpointError("no"))), 9.0)[0]


def test_time_and_memory_are_faults_too() -> None:
    case = Case("made", lambda folder: None, refused=(), most_mib=10)
    told = {"case": "made", "error": "", "message": "", "seconds": 9.0, "mib": 11}
    assert [fault.partition(": ")[2] for fault in judge(case, told, 8.0)] == [
        "took 9.0 s",
        "took 11 MiB, more than 10",
    ]


def test_a_case_that_ends_the_child_is_a_fault_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [_raises(CheckpointError("first")), _raises(CheckpointError("second")), _raises(CheckpointError("third"))]
    asked = []

    def answers(group: str, first: int) -> list[dict[str, object]]:
        asked.append(first)
        told = {"case": "made", "error": "CheckpointError", "message": "", "seconds": 0.0, "mib": 0}
        return [told]  # the first child ends in the second case

    monkeypatch.setattr(traps, "cases_of", lambda group: cases)
    monkeypatch.setattr(traps, "_answers", answers)
    outcome = traps.walk_through("any")
    assert asked == [0, 2]
    assert outcome.faults == ["made: the process that met it hung or died"]
    assert outcome.verdict == "FAILED"


def test_the_child_measures_what_a_case_takes() -> None:
    kept = []

    def act(folder: Path) -> None:
        kept.append(b"x" * (64 << 20))

    told = walk_into(Case("made", act, refused=()))
    if child._status("VmHWM"):
        assert 60 <= int(str(told["mib"])) <= 200
