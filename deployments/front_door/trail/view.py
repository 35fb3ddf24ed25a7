"""A record as JSON, worked out when somebody asks: one line of a list, or all of it, with the reasons in words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from deployments.front_door.trail.phases import last_call, phases
from deployments.front_door.trail.record import Call, Record, Visit
from deployments.front_door.trail.words import reason, slowed, thought
from deployments.routing.explain import Weighed, explain
from deployments.routing.prediction import Objective, Prediction


def line(record: Record, slow: bool) -> dict[str, Any]:
    """One line of a list. Times in seconds; `arrived_s` by the wall clock."""
    last = last_call(record)
    return {
        "id": record.id,
        "arrived_s": round(record.arrived_s, 3),
        "path": record.path,
        "key": record.key or None,
        "model": record.model or None,
        "variant": None if record.decision is None else record.decision.variant,
        "reason": None if record.decision is None else record.decision.reason,
        "outcome": outcome(record),
        "status": record.status or None,
        "error": record.error or None,
        "slow": slow,
        "missed": list(record.missed),
        "took_s": _round(record.took_s),
        "first_s": _round(record.first_s),
        "token_s": _round(record.token_s),
        "prompt_tokens": record.prompt_tokens,
        "output_tokens": record.output_tokens,
        "resumed": 0 if last is None else sum(1 for visit in last.visits if visit.cause in ("died", "silent")),
        "phases": {one.name: _round(one.seconds) for one in phases(record)},
    }


def outcome(record: Record) -> str:
    """ "open", "ok", "failed", "refused" where something was wrong with what was asked, or "gone": the caller left."""
    if not record.ended:
        return "open"
    if record.gone:
        return "gone"
    if record.failed:
        return "failed"
    return "refused" if record.status >= 400 else "ok"


def shown(record: Record, slow: bool) -> dict[str, Any]:
    """All that is known of it."""
    situation, decision = record.situation, record.decision
    weighed = [] if situation is None else explain(situation, decision)
    return {
        **line(record, slow),
        "method": record.method,
        "task": record.task or None,
        "streamed": record.streamed,
        "message": record.message or None,
        "trace": record.trace or None,
        "objective": None if situation is None else _objective(situation.objective),
        "phases": [
            {"name": one.name, "start_s": _round(one.start_s), "seconds": _round(one.seconds)} for one in phases(record)
        ],
        "sending_s": _round(record.sending_s),
        "flushes": record.flushes,
        "choice": None
        if situation is None
        else {
            "policy": situation.policy,
            "pinned": situation.pinned,
            "min_quality": situation.min_quality,
            "prompt_tokens": situation.demand.prompt_tokens,
            "most_tokens": situation.demand.most_tokens,
            "answers": situation.demand.count,
            "woken": None if decision is None else decision.wake,
            "reason": reason(situation, decision, weighed),
            "candidates": [_candidate(one, record) for one in weighed],
        },
        "calls": [_call(call, record) for call in record.calls],
        "more_calls": record.more_calls,
        "slowed": slowed(record, weighed),
    }


def _candidate(one: Weighed, record: Record) -> dict[str, Any]:
    assert record.situation is not None
    return {
        "variant": one.name,
        "verdict": one.verdict,
        "why": thought(one, record.situation),
        "state": one.state,
        "retained": one.retained,
        "replicas": one.replicas,
        "open": one.open,
        "places": one.places,
        "running": one.begun,
        "slots": one.slots,
        "predicted": _prediction(one.predicted),
        "alone": _prediction(one.alone),
        "share": _round(one.share),
        "most": _round(one.most),
    }


def _call(call: Call, record: Record) -> dict[str, Any]:
    return {"texts": call.texts, "visits": [_visit(visit, record) for visit in call.visits]}


def _visit(visit: Visit, record: Record) -> dict[str, Any]:
    def since(moment: float) -> float | None:
        return _round(moment - record.arrived) if moment else None

    return {
        "replica": visit.replica or None,
        "begun_s": since(visit.begun),
        "sent_s": since(visit.sent),
        "first_s": since(visit.first),
        "ended_s": since(visit.ended),
        "tokens": visit.tokens,
        "cached_tokens": visit.cached_tokens,
        "cause": visit.cause or None,
        "timings": None
        if visit.timings is None
        else {name: _round(seconds) for name, seconds in asdict(visit.timings).items()},
    }


def _objective(objective: Objective) -> dict[str, float | None]:
    return {"first_s": objective.first_s, "token_s": objective.token_s}


def _prediction(one: Prediction | None) -> dict[str, float | None] | None:
    return None if one is None else {"first_s": _round(one.first_s), "token_s": _round(one.token_s)}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
