"""A run that nobody made: records of a server that slows down under load, steps to another variant and loses a node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from loadtest.record import Failure, Record, write_records
from loadtest.scenario import Objective, Open, Percentiles, Phase, Range, Requests, Scenario

LOST_S = (62.0, 70.0)  # a node is gone


def mixed(objective: Objective | None = None) -> Scenario:
    """Chats and classifications; 10 s of warm-up, a step of load, and back."""
    return Scenario(
        name="step-mixed",
        requests=(
            Requests(kind="chat", model="smollm2", prompt_tokens=Range(low=16, high=128), output_tokens=48, weight=2),
            Requests(kind="classify", model="intents", batch=4),
        ),
        load=Open(arrivals="poisson", phases=(Phase(seconds=40, rate=3), Phase(seconds=40, rate=9, to=12),
                                              Phase(seconds=30, rate=3))),
        warm_up_s=10,
        duration_s=100,
        objective=objective or Objective(
            ttft_ms=Percentiles(p50=300, p99=1500),
            tpot_ms=Percentiles(p99=60),
            failed=0.01,
            within={"ttft_ms": 1000, "tpot_ms": 60},
            goodput=0.9,
        ),
    )  # fmt: skip


def records(seed: int = 0) -> list[Record]:
    """As `mixed` would ask."""
    rng = np.random.default_rng(seed)
    found: list[Record] = []
    at = 0.0
    while True:
        rate = 3.0 if at < 40 or at >= 80 else 9 + 3 * (at - 40) / 40
        at += float(rng.exponential(1 / rate))
        if at >= 110:
            return found
        make = chat if rng.random() < 2 / 3 else classified
        found.append(make(len(found), at, rng))


def chat(number: int, at: float, rng: np.random.Generator) -> Record:
    """One stream of 48 tokens, two of them in an event now and then."""
    failure = failure_at(at, rng)
    sent = at + float(rng.gamma(2, 0.0004))
    one = Record(number, "chat", "smollm2", at, sent)
    if failure:
        return failed(one, failure, rng)
    pressed = 40 <= at < 85
    one.variant = "int8-dynamic" if 48 <= at < 95 else "bf16"
    slow = 2.5 if pressed and one.variant == "bf16" else 1.0
    pause = float(rng.lognormal(-1.9, 0.45)) * slow * (4 if LOST_S[0] <= at < LOST_S[1] else 1)
    gaps = rng.lognormal(-3.6 if one.variant == "bf16" else -4.0, 0.25, 40) * slow
    one.headers_s, one.chunk_s = sent + 0.004, sent + 0.005
    one.first_s = sent + pause
    one.gaps_s = [round(float(gap), 6) for gap in gaps]
    one.last_s = one.first_s + sum(one.gaps_s)
    one.end_s = one.last_s + 0.001
    one.status, one.prompt_tokens, one.output_tokens, one.bytes = 200, int(rng.integers(16, 129)), 48, 9000
    return one


def classified(number: int, at: float, rng: np.random.Generator) -> Record:
    """Four texts in one answer."""
    sent = at + float(rng.gamma(2, 0.0004))
    end = sent + float(rng.lognormal(-3.7, 0.3)) * (2 if 40 <= at < 80 else 1)
    return Record(
        number, "classify", "intents", at, sent, end, None, end, end, end, status=200, variant="fp32",
        prompt_tokens=60, items=4, bytes=800,
    )  # fmt: skip


def failure_at(at: float, rng: np.random.Generator) -> Failure:
    lost = LOST_S[0] <= at < LOST_S[0] + 2
    if lost and rng.random() < 0.3:
        return "cut"
    return "503" if 44 <= at < 48 and rng.random() < 0.35 else ""


def failed(one: Record, failure: Failure, rng: np.random.Generator) -> Record:
    assert one.sent_s is not None
    one.failure = failure
    one.end_s = one.sent_s + float(rng.uniform(0.003, 0.02)) + (1.5 if failure == "cut" else 0)
    one.status = 503 if failure == "503" else 200
    one.message = "<b>busy</b> | try `again`" if failure == "503" else "the stream ended before [DONE]"
    if failure == "cut":
        one.first_s = one.last_s = one.sent_s + 0.2
    return one


def samples() -> list[dict[str, Any]]:
    """A line of `server.jsonl` each half second."""
    return [sample(step / 2) for step in range(224)]


def sample(at: float) -> dict[str, Any]:
    lost = LOST_S[0] <= at < LOST_S[1]
    whole = 1 if not 46 <= at < 96 else 0 if at > 52 else 1
    small = 0 if not 47 <= at < 97 else 1 if at < 55 or lost else 2
    stages = [[1, 0] if lost else [1, 1]] * whole
    variants = [
        {"name": "bf16", "state": "ready" if whole else "asleep", "replicas": whole, "starting": 0, "stages": stages},
        {"name": "int8-dynamic", "state": "ready" if small else "asleep", "replicas": small, "starting": 0,
         "stages": [[1, 0 if lost else 1]] * small},
    ]  # fmt: skip
    fp32 = {"name": "fp32", "state": "ready", "replicas": 1, "starting": 0, "stages": []}
    return {
        "at_s": at,
        "models": [{"name": "smollm2", "variants": variants}, {"name": "intents", "variants": [fp32]}],
        "metrics": {
            "vllm:num_requests_running": {"smollm2/bf16": 2.0, "smollm2/int8-dynamic": 1.0},
            "vllm:num_requests_waiting": {"smollm2/bf16": 5.0},
            "vllm:kv_cache_usage_perc": {"smollm2/bf16": 0.4, "other/0": 0.2},
        },
    }


MARKS: list[dict[str, Any]] = [
    {"at_s": 40.0, "until_s": 80.0, "what": "a step of load"},
    {"at_s": LOST_S[0], "until_s": LOST_S[1], "what": "a node is gone"},
    {"at_s": 63.5, "until_s": None, "what": "streams resumed"},
]


def about(scenario: Scenario, verdict: str = "") -> dict[str, Any]:
    """`run.json`."""
    return {
        "start_s": 1_780_000_000.0,
        "url": "http://127.0.0.1:8000",
        "scenario": scenario.model_dump(mode="json"),
        "workers": 1,
        "machine": {
            "date": "2026-05-28T20:26:40+00:00", "commit": "0123456789", "processor": "A Processor avx2", "cores": 2,
            "memory_gib": 24.0, "python": "3.11.7", "locust": "2.47.0",
        },
        "server": {"version": "0.1.0", "models": ["smollm2", "intents"]},
        "client": {
            "lag_p50_ms": 0.7, "lag_p99_ms": 2.6, "lag_max_ms": 5.1, "cpu_share": 0.21, "late_p99_ms": 1.2,
            "verdict": verdict,
        },
    }  # fmt: skip


def make_run(folder: Path, seed: int = 0, verdict: str = "") -> Path:
    """All files of a run's folder, but those of its report."""
    scenario = mixed()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenario.yaml").write_text(yaml.safe_dump(scenario.model_dump(mode="json")), encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(about(scenario, verdict)), encoding="utf-8")
    (folder / "requests.jsonl").unlink(missing_ok=True)
    write_records(folder / "requests.jsonl", records(seed))
    for name, lines in (("server.jsonl", samples()), ("marks.jsonl", MARKS)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder
