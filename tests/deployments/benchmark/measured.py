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
        {"round": turn, "figures": figures([record(0, 1.0, 1.0 + took, **more)]), "client": {}}
        for turn, took in enumerate(seconds, 1)
    ]
    return {"callers": callers, "threads": 1, "variants": [], "samples": samples}


def result(works: Sequence[Work] = WORKS, **more: Any) -> dict[str, Any]:
    """Baselines take 4, 2 and 3 seconds for an answer, the optimized 0.5, 0.25 and 0.5."""
    settings = load_settings(OPTIMIZED_CONFIG)
    found = {}
    for work in works:
        scenario = scenario_of(work, SCENARIOS, settings)
        found[work.name] = {
            "scenario": scenario.model_dump(mode="json"),
            "servers": {
                "baseline": server([4.0, 2.0, 3.0], callers=2 if work.task == "generation" else 1),
                "optimized": server([0.5, 0.25, 0.5], callers=8),
            },
            "agreement": {"count": 4, "same_texts": 0.5, "same_words": 0.75} if work.task == "generation" else {},
            "other_prompts": 0,
            "quality": [],
        }
    return {
        "benchmark": "table",
        "date": "2026-11-28T12:00:00+00:00",
        "commit": "abc",
        "processor": "a processor",
        "cores": 2,
        "memory_gib": 8.0,
        "python": "3.11",
        "torch": "2.13",
        "threads": 2,
        "config": "optimized.yaml",
        "rounds": 3,
        "works": found,
        **more,
    }
