"""A small result of the table, as `bench_table` makes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deployments.benchmark.figures import figures
from deployments.benchmark.works import SCENARIOS, WORKS, Work, scenario_of
from deployments.cli.benchmark import OPTIMIZED_CONFIG
from deployments.settings import load_settings
from loadtest.record import Record


def record(number: int, sent_s: float, end_s: float, **more: Any) -> Record:
    """An answer of 64 tokens."""
    given = {"kind": "completions", "sent_s": sent_s, "end_s": end_s, "output_tokens": 64, **more}
    return Record(number, model="m", scheduled_s=sent_s, **given)


def server(seconds: Sequence[float], callers: int, **more: Any) -> dict[str, Any]:
    """Rounds of one answer each, after so many seconds."""
    samples = [
        {"round": turn, "figures": figures([record(0, 1.0, 1.0 + took, **more)]), "client": {"verdict": ""}}
        for turn, took in enumerate(seconds, 1)
    ]
    return {
        "callers": callers,
        "alone_per_s": None,
        "variants": [],
        "samples": samples,
        "other_prompts": 0,
        "agreement": {},
    }


ORIGIN: dict[str, Any] = {
    "date": "2026-11-28T12:00:00+00:00",
    "commit": "abc",
    "processor": "a processor",
    "cores": 2,
    "memory_gib": 8.0,
    "python": "3.11",
    "torch": "2.13",
    "command": "stageline benchmark",
    "standard": True,
    "config": "optimized.yaml",
    "configuration": "models: []",
    "urls": {},
}


def result(works: Sequence[Work] = WORKS, **more: Any) -> dict[str, Any]:
    """Baselines take 4, 2 and 3 seconds for an answer, the optimized 0.5, 0.25 and 0.5."""
    settings = load_settings(OPTIMIZED_CONFIG)
    found: dict[str, Any] = {}
    for work in works:
        scenario = scenario_of(work, SCENARIOS, settings)
        found[work.name] = {
            "scenario": scenario.model_dump(mode="json"),
            "servers": {
                "baseline": server([4.0, 2.0, 3.0], callers=2 if work.task == "generation" else 1),
                "optimized": server([0.5, 0.25, 0.5], callers=8),
            },
            "baseline": {"threads": 1, "tried_s": {"1": 2.5, "2": 3.0}},
            "quality": [],
        }
        if work.task == "generation":
            agreed = {"count": 4, "same_texts": 0.5, "same_words": 0.75}
            found[work.name]["servers"]["optimized"]["agreement"] = agreed
    return {
        "benchmark": "table",
        **ORIGIN,
        "threads": 2,
        "peers": {},
        "rounds": 3,
        "complete": True,
        "seconds": None,
        "works": found,
        **more,
    }
