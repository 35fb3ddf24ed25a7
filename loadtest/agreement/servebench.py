"""`servebench`. Its end-to-end, and with it TPOT, ends with the stream's [DONE], not with the last text.

In an open loop its own rates count the time before the first arrival; here they are from the first request on.
"""

from __future__ import annotations

import json
import os
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from loadtest.agreement.figures import Figures
from loadtest.agreement.process import last_words, run_client
from loadtest.agreement.work import Streams, Work, add_lines, prompts, schedule
from loadtest.errors import LoadTestError

# Half of its requests are sent nearer than that to the schedule's intervals. Of another schedule, half of the
# intervals are off by 0.7 of their mean.
SKEW_S = 0.02
SKEW = 0.2  # of the mean interval


def command(work: Work, program: str, folder: Path) -> list[str]:
    """Also writes the file that it names. It asks for `ignore_eos` and temperature 0 by default."""
    lines: list[dict[str, object]] = [{"prompt": prompt} for prompt in prompts(work, work.requests)]
    closed = isinstance(work.load, Streams)
    level = work.load.count if isinstance(work.load, Streams) else work.load.per_s
    return [
        *(program, "run", "--url", f"{work.url}/v1", "--model", work.model, "--endpoint", work.kind),
        *("--prompts", str(add_lines(folder / "requests.jsonl", lines)), "--output-len", str(work.output_tokens)),
        *("--concurrency" if closed else "--rate", str(level), "--num-requests", str(work.requests)),
        *(
            "--seed",
            str(work.arrivals_seed),
            "--warmup",
            "0",
            "--no-gpu",
            "--out",
            str((folder / "run.json").resolve()),
        ),
    ]


def run(work: Work, program: str, folder: Path) -> Figures:
    """Raises LoadTestError where it fails, or sends at other times than the others were given."""
    environment = {**os.environ, "OPENAI_API_KEY": work.api_key} if work.api_key else os.environ
    run_client(command(work, program, folder), folder, work.timeout_s, environment)
    try:
        found = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LoadTestError(f"servebench wrote no result. It said: {last_words(folder)}") from None
    if not isinstance(work.load, Streams):
        check_times(found, schedule(work, work.load), work.load.per_s)
    return figures(found)


def check_times(found: dict[str, Any], due: list[float], per_s: float) -> None:
    """It takes no schedule: the others are given what it is known to draw. Raises LoadTestError if it drew another."""
    starts = [one["start"] for one in sorted(found["levels"][0]["requests"], key=lambda one: int(one["index"]))]
    if len(starts) == len(due):
        skews = [abs((b - a) - (d - c)) for (a, b), (c, d) in zip(pairwise(starts), pairwise(due), strict=True)]
        if statistics.median(skews) <= min(SKEW_S, SKEW / per_s):
            return
    raise LoadTestError("servebench draws its arrivals in another way than 1.1 did: open loops cannot be compared.")


def figures(found: dict[str, Any]) -> Figures:
    """Of its `run.json`."""
    try:
        level, version = found["levels"][0], found["environment"]["servebench_version"]
        summary, done = level["summary"], [one for one in level["requests"] if one["ok"]]
        ttft, tpot = summary["ttft"], summary["tpot"]
        first_s = min((one["start"] for one in level["requests"]), default=0.0)
        last_s = max((one["start"] + one["e2e"] for one in done), default=first_s)
        if last_s <= first_s:
            raise LoadTestError("servebench had no answer.")
        return Figures(
            ttft_p50_ms=1000 * ttft["p50"],
            ttft_p99_ms=1000 * ttft["p99"],
            tpot_mean_ms=1000 * tpot["mean"],
            tpot_p50_ms=1000 * tpot["p50"],
            output_tokens_per_s=sum(one["output_tokens"] for one in done) / (last_s - first_s),
            requests_per_s=len(done) / (last_s - first_s),
            completed=summary["completed"],
            failed=summary["failed"],
            version=version,
        )
    except KeyError as error:
        raise LoadTestError(f"servebench's result has no {error}: a version that is not known here.") from None
