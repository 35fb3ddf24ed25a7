"""What a run leaves in its folder beside the requests: the scenario, where it ran, how the client fared, the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import yaml

from loadtest.errors import LoadTestError
from loadtest.machine import machine
from loadtest.record import Record, read_records
from loadtest.scenario import Scenario
from loadtest.token_check import by_server, check_tokens
from loadtest.verdict import client_facts

ASK_S = 5.0


def finish_run(
    folder: Path,
    scenario: Scenario,
    url: str,
    start_s: float,
    workers: Sequence[Mapping[str, float]],
    *,
    report: bool,
) -> bool | None:
    """Writes `scenario.yaml` and `run.json`, and the report. Whether the objective was kept; None where none was made.

    `start_s` is the run's start as Unix time; `workers` are the facts of each process's lag.
    """
    given = scenario.model_dump(mode="json", exclude_defaults=True)
    (folder / "scenario.yaml").write_text(yaml.safe_dump(given, sort_keys=False, allow_unicode=True), encoding="utf-8")
    requests = folder / "requests.jsonl"
    requests.touch()
    records = read_records(requests)
    facts = {
        "start_s": start_s,
        "url": url,
        "scenario": scenario.model_dump(mode="json"),
        "workers": len(workers),
        "machine": machine(["locust"]),
        "server": server_facts(url),
        "client": client_facts(workers, records),
        "tokens": _counted(records, url),
    }
    (folder / "run.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    if not report:
        return None
    from loadtest.report import write_report  # draws pictures, which the load must not wait for

    return write_report(folder).verdict.kept


def _counted(records: Sequence[Record], url: str) -> dict[str, Any]:
    """The server's count of tokens against its tokenizer's; {} where it shows none."""
    try:
        found = check_tokens(records, by_server(url))
    except LoadTestError:
        return {}
    return {**asdict(found), "verdict": found.verdict}


def server_facts(url: str) -> dict[str, Any]:
    """Version and models, where the server tells."""
    return {"version": _get(url, "/version").get("version"), "models": _names(_get(url, "/v1/models"))}


def _names(listed: Mapping[str, Any]) -> list[str]:
    return [str(one.get("id")) for one in listed.get("data") or ()]


def _get(url: str, path: str) -> dict[str, Any]:
    try:
        told = httpx.get(url.rstrip("/") + path, timeout=ASK_S).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
