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

from loadtest.completeness import shortfalls
from loadtest.errors import LoadTestError
from loadtest.machine import machine
from loadtest.outcome import exit_status
from loadtest.plan import End
from loadtest.record import Record, read_records
from loadtest.scenario import Scenario
from loadtest.token_check import by_server, check_tokens, usage_verdict
from loadtest.verdict import client_facts
from loadtest.watch import bearer

ASK_S = 5.0
FILES = (
    *("requests.jsonl", "server.jsonl", "marks.jsonl", "run.json", "scenario.yaml", "result.json"),
    *("report.md", "report.html", "distributions.png", "timeline.png"),
)


def clear(folder: Path) -> None:
    """Deletes what an earlier run has left in it."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def finish_run(folder: Path, scenario: Scenario, url: str, end: End, *, report: bool, api_key: str = "") -> int | None:
    """Writes `scenario.yaml` and `run.json`, and the report. The exit status; None where there is nothing to judge it
    by, since no report was made of a run that is whole."""
    given = scenario.model_dump(mode="json", exclude_defaults=True)
    (folder / "scenario.yaml").write_text(yaml.safe_dump(given, sort_keys=False, allow_unicode=True), encoding="utf-8")
    requests = folder / "requests.jsonl"
    requests.touch()
    records = read_records(requests)
    client = client_facts([one.lag for one in end.done], records)
    missing = shortfalls(end, records)
    facts = {
        "start_s": end.start_s,
        "url": url,
        "scenario": scenario.model_dump(mode="json"),
        "workers": len(end.done),
        "machine": machine(["locust"]),
        "server": server_facts(url, api_key),
        "client": {**client, "complete": not missing, "verdict": " ".join([*missing, client["verdict"]]).strip()},
        "tokens": _counted(records, url, api_key),
    }
    (folder / "run.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    if not report:
        return exit_status(True, not missing, sum(not one.failure for one in records)) or None
    from loadtest.report import write_report  # draws pictures, which the load must not wait for

    return write_report(folder).exit_status


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
    models = listed.get("data")
    return [str(one.get("id")) for one in models if isinstance(one, dict)] if isinstance(models, list) else []


def _get(url: str, path: str, api_key: str) -> dict[str, Any]:
    try:
        told = httpx.get(url.rstrip("/") + path, timeout=ASK_S, headers=bearer(api_key)).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
