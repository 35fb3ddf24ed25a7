"""Where a request's time went: its record's moments as phases that follow each other and add up to all of it. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from deployments.front_door.trail.record import Call, Record, Visit

PHASES: Mapping[str, str] = {
    "read": "reading and checking the body",
    "prepare": "cutting the text into tokens, templates",
    "choose": "choosing the variant",
    "others": "other texts of the same request that went before",
    "find": "waiting for a replica to be there",
    "lost": "with replicas that were lost, or did not take it",
    "wait": "until the replica's first word: waiting for a place, or computing",
    "queue": "waiting for a place in the engine",
    "prefill": "computing the prompt",
    "run": "computing",
    "decode": "writing the tokens after the first",
    "transit": "between the front door and the replica",
    "answer": "writing and sending the answer",
}
"""In the order in which they come."""

OK = 200


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of a request's time, in seconds since its arrival."""

    name: str
    start_s: float
    seconds: float


def phases(record: Record) -> list[Phase]:
    """Those that took any time. Where several calls went on at once, they are those of the one that ended last."""
    end = record.ended or time.perf_counter()
    took = {"read": (record.read or end) - record.arrived}
    if record.read:
        took["prepare"] = (record.choosing or end) - record.read
    if record.choosing:
        took["choose"] = (record.chosen or end) - record.choosing
    last = last_call(record)
    if last is None and record.status == OK:  # nothing had to be computed
        took["answer"] = end - (record.chosen or end)
    elif last is None:  # its text was cut into tokens still, or could not be
        took["prepare"] = took.get("prepare", 0.0) + end - (record.chosen or end)
    else:
        asked = min(call.visits[0].begun for call in record.calls if call.visits)
        took["prepare"] = took.get("prepare", 0.0) + asked - (record.chosen or asked)
        took["others"] = last.visits[0].begun - asked
        took |= _of_call(record, last, end)
        took["answer"] = end - (last.visits[-1].ended or end)
    return _in_order(took)


def last_call(record: Record) -> Call | None:
    """The one that ended last, or has not ended."""
    asked = [call for call in record.calls if call.visits]
    return max(asked, key=lambda call: call.visits[-1].ended or float("inf"), default=None)


def _of_call(record: Record, call: Call, end: float) -> dict[str, float]:
    *lost, last = call.visits
    took = dict.fromkeys(("find", "lost", "wait", "queue", "prefill", "run", "decode", "transit"), 0.0)
    for visit, following in zip(lost, call.visits[1:], strict=True):
        took["lost"] += following.begun - visit.begun
    ended = last.ended or end
    took["find"] = (last.sent or ended) - last.begun
    if last.cause:
        took["lost"] += ended - (last.sent or ended)
        return took
    took |= at_replica(record, last, ended)
    return took


def at_replica(record: Record, visit: Visit, ended: float) -> dict[str, float]:
    """What the replica's own times say of a visit, bounded by what was seen of it from here: clocks of two machines may
    differ. It tells them with the first token, and how long the others took with the last: not of an answer that was
    left, or that a stop string ended here."""
    if not visit.sent:
        return {}
    if visit.timings is None:
        first = visit.first or ended
        return {"wait": first - visit.sent, "decode": ended - first}
    before = max(0.0, visit.sent - (record.read or visit.sent))  # the replica's queue counts from the arrival
    first = visit.first or ended
    room = max(0.0, first - visit.sent)
    prefill = min(visit.timings.prefill_s, room)
    queue = min(max(0.0, visit.timings.queue_s - before), room - prefill)
    decode = min(visit.timings.decode_s or math.inf, max(0.0, ended - first))
    whole = record.task != "text-generation"
    return {
        "queue": queue,
        "run" if whole else "prefill": prefill,
        "decode": decode,
        "transit": max(0.0, ended - visit.sent - queue - prefill - decode),
    }


def _in_order(took: dict[str, float]) -> list[Phase]:
    found, at = [], 0.0
    for name in PHASES:
        seconds = max(0.0, took.get(name, 0.0))
        if seconds > 0:
            found.append(Phase(name, at, seconds))
            at += seconds
    return found
