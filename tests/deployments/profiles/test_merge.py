"""Several traces as one: rows, one clock, arrows, and a bound."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from deployments.profiles.merge import Process, arrows, longest, merge_in_child, merged, on_one_clock
from engine.errors import EngineFailed

Event = dict[str, Any]
DRIVER = Process("m:v, replica r", 7, {71: "engine-loop"})
FIRST = Process("m:v, stage 0", 7, {72: "stage"}, ahead_s=2.0)  # the same process id on another machine
SECOND = Process("m:v, stage 1", 9, {90: "stage"})


def event(name: str, ts: float, dur: float = 1.0, pid: int | str = 7, tid: int = 71) -> Event:
    return {"ph": "X", "name": name, "pid": pid, "tid": tid, "ts": ts, "dur": dur}


def trace(*events: Event, base_ns: int = 0) -> dict[str, Any]:
    return {"traceEvents": list(events), "baseTimeNanoseconds": base_ns}


def spans(result: Event) -> dict[str, Event]:
    return {one["name"]: one for one in result["traceEvents"] if one["ph"] == "X"}


def test_a_row_for_each_process_with_its_name() -> None:
    result = merged([DRIVER, FIRST], [trace(event("step", 5.0)), trace(event("batch 1: x", 6.0, tid=72))])
    names = {one["pid"]: one["args"]["name"] for one in result["traceEvents"] if one["name"] == "process_name"}
    threads = {one["args"]["name"] for one in result["traceEvents"] if one["name"] == "thread_name"}
    found = spans(result)
    assert names[found["step"]["pid"]] == "m:v, replica r"
    assert names[found["batch 1: x"]["pid"]] == "m:v, stage 0"
    assert threads == {"engine-loop", "stage"}


def test_clocks_are_aligned() -> None:
    here = trace(event("here", 10.0), base_ns=5_000_000)  # 5,010 us
    there = trace(event("there", 20.0, tid=72), base_ns=2_005_000_000)  # 5,020 us, by a clock that is 2 s ahead
    found = spans(merged([DRIVER, FIRST], [here, there]))
    assert found["here"]["ts"] == 0.0
    assert found["there"]["ts"] == pytest.approx(10.0)


def test_only_what_lasts_is_kept_of_torchs_own_rows() -> None:
    odd = [event("PyTorch Profiler (0)", 0.0, pid="Spans"), {"ph": "M", "name": "process_name", "pid": 7, "ts": 0.0}]
    assert on_one_clock(trace(*odd, event("kept", 1.0)), 0.0) == [event("kept", 1.0)]


def test_a_stage_that_was_lost_is_told() -> None:
    lost = Process("m:v, stage 1", why="the actor died")
    result = merged([DRIVER, lost], [trace(event("step", 5.0)), None])
    assert result["otherData"]["notes"] == ["m:v, stage 1 is missing: the actor died"]
    names = [one["args"]["name"] for one in result["traceEvents"] if one["name"] == "process_name"]
    assert "m:v, stage 1 (the actor died)" in names


def test_the_longest_events_are_kept_where_there_are_too_many() -> None:
    events = [event(str(i), float(i), dur=float(i % 4)) for i in range(8)]
    assert [one["name"] for one in longest(events, 4)] == ["2", "3", "6", "7"]
    result = merged([DRIVER], [trace(*events)], most=4)
    assert len(spans(result)) == 4
    assert result["otherData"]["notes"] == ["of m:v, replica r the 4 longest of 8 events are here"]


def test_arrows_lead_from_stage_to_stage() -> None:
    first = [event("batch 1: x, 3 rows", 0.0, 5.0, pid=100), event("batch 2: x, 3 rows", 5.0, 5.0, pid=100)]
    # A batch 1 of before a repair, which this stage had first.
    second = [event("batch 1: x", -9.0, 5.0, pid=200), event("batch 1: x", 6.0, pid=200), event("wait", 7.0, pid=200)]
    (begin, end) = arrows([first, second])
    assert (begin["ph"], begin["pid"], begin["ts"]) == ("s", 100, 5.0)
    assert (end["ph"], end["pid"], end["ts"]) == ("f", 200, 6.0)
    assert begin["id"] == end["id"]


async def test_it_is_joined_in_another_process() -> None:
    parts = [trace(event("batch 4: x", 1.0)), trace(event("batch 4: x", 4.0, pid=9, tid=90))]
    packed = [gzip.compress(json.dumps(part).encode()) for part in parts]
    result = json.loads(gzip.decompress(await merge_in_child([DRIVER, SECOND], packed)))
    assert result["otherData"]["processes"] == ["m:v, replica r", "m:v, stage 1"]
    assert [one["ph"] for one in result["traceEvents"] if one.get("cat") == "batch"] == ["s", "f"]


async def test_a_damaged_part_is_told() -> None:
    with pytest.raises(EngineFailed, match="The profile could not be joined: "):
        await merge_in_child([DRIVER], [b"not gzip"])
