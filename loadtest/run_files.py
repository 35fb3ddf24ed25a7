"""What a run leaves in its folder beside the requests: the scenario, where it ran, how the client fared, the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import yaml

from loadtest.errors import LoadTestError
from loadtest.machine import machine
from loadtest.record import Record, read_records
from loadtest.scenario import Scenario
from loadtest.token_check import by_server, check_tokens, usage_verdict
from loadtest.verdict import client_facts
from loadtest.watch import bearer

ASK_S = 5.0


def finish_run(
    folder: Path,
    scenario: Scenario,
    url: str,
    start_s: float,
    workers: Sequence[Mapping[str, float]],
    *,
    report: bool,
    api_key: str = "",
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
        "server": server_facts(url, api_key),
        "client": client_facts(workers, records),
        "tokens": _counted(records, url, api_key),
    }
    (folder / "run.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    if not report:
        return None
    from loadtest.report import write_report  # draws pictures, which the load must not wait for

    return write_report(folder).verdict.kept


def _counted(records: Sequence[Record], url: str, api_key: str) -> dict[str, Any]:
    """The server's counts of tokens: whether they came and are as many as asked, and, where it shows its tokenizer,
    whether that counts the same."""
    found: dict[str, Any] = {}
    verdicts = [usage_verdict(records)]
    with suppress(LoadTestError), by_server(url, api_key) as count:
        check = check_tokens(records, count)
        found, verdicts = asdict(check), [*verdicts, check.verdict]
    return {**found, "verdict": " ".join(filter(None, verdicts))}


def server_facts(url: str, api_key: str = "") -> dict[str, Any]:
    """Version and models, where the server tells."""
    listed = _get(url, "/v1/models", api_key)
    return {"version": _get(url, "/version", api_key).get("version"), "models": _names(listed)}


def _names(listed: Mapping[str, Any]) -> list[str]:
    return [str(one.get("id")) for one in listed.get("data") or ()]


def _get(url: str, path: str, api_key: str) -> dict[str, Any]:
    try:
        told = httpx.get(url.rstrip("/") + path, timeout=ASK_S, headers=bearer(api_key)).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
