"""Our own client, run and read as the others are."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from loadtest.agreement.figures import Figures
from loadtest.agreement.process import last_words, run_client
from loadtest.agreement.work import Work, scenario
from loadtest.errors import LoadTestError
from loadtest.machine import commit

ROOT = Path(__file__).parents[2]


def command(work: Work, program: str, folder: Path) -> list[str]:
    """Also writes the scenario that it names. `program` is a Python interpreter."""
    path = folder / "given.scenario.yaml"
    path.write_text(yaml.safe_dump(json.loads(scenario(work, folder).model_dump_json())), encoding="utf-8")
    output = str((folder / "run").resolve())
    return [
        *(program, "-m", "loadtest", "run", str(path.resolve())),
        *("--url", work.url, "--output", output, "--no-pictures"),
    ]


def run(work: Work, program: str, folder: Path) -> Figures:
    """Raises LoadTestError where it fails."""
    environment = {**os.environ, "PYTHONPATH": python_path(), "STAGELINE_API_KEY": work.api_key}
    run_client(command(work, program, folder), folder, work.timeout_s, environment)
    try:
        found = json.loads((folder / "run" / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LoadTestError(f"Our client wrote no result. It said: {last_words(folder)}") from None
    return figures(found, commit())


def python_path() -> str:
    """For a Python that has to find this package, wherever it runs."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def program() -> str:
    """Ours needs no environment of its own."""
    return sys.executable


def figures(found: dict[str, Any], version: str) -> Figures:
    """Of `result.json`, which has vLLM's keys."""
    return Figures(
        ttft_p50_ms=found["median_ttft_ms"],
        ttft_p99_ms=found["p99_ttft_ms"],
        tpot_mean_ms=found["mean_tpot_ms"],
        tpot_p50_ms=found["median_tpot_ms"],
        output_tokens_per_s=found["output_throughput"],
        requests_per_s=found["request_throughput"],
        completed=found["completed"],
        failed=found["failed"],
        version=version,
        doubt=found.get("stageline", {}).get("client", {}).get("verdict", ""),
    )
