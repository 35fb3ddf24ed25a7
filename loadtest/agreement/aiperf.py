"""NVIDIA's `aiperf`. Its `inter_token_latency` is what others call TPOT.

It wants a tokenizer even where it has nothing to count: prompts are given here, and tokens are the server's. It gets
one that knows no word.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from loadtest.agreement.figures import Figures
from loadtest.agreement.process import last_words, run_client
from loadtest.agreement.work import Streams, Work, add_lines, prompts, schedule
from loadtest.errors import LoadTestError

TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
}
TOKENIZER_CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}


def command(work: Work, program: str, folder: Path) -> list[str]:
    """Also writes the files that it names."""
    lines: list[dict[str, object]] = [
        {"text_input": prompt, "output_length": work.output_tokens} for prompt in prompts(work, work.requests)
    ]
    if isinstance(work.load, Streams):
        load = ["--concurrency", str(work.load.count), "--request-count", str(work.requests)]
    else:
        for line, at_s in zip(lines, schedule(work, work.load), strict=True):
            line["timestamp"] = round(1000 * at_s, 3)
        load = ["--fixed-schedule"]
    tokenizer = (folder / "tokenizer").resolve()
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text(json.dumps(TOKENIZER), encoding="utf-8")
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG), encoding="utf-8")
    return [
        *(program, "profile", "--url", work.url, "--model", work.model, "--endpoint-type", work.kind, "--streaming"),
        *("--input-file", str(add_lines(folder / "requests.jsonl", lines)), "--custom-dataset-type", "mooncake_trace"),
        *load,
        *(
            "--extra-inputs",
            "temperature:0",
            "--extra-inputs",
            "ignore_eos:true",
            "--random-seed",
            str(work.arrivals_seed),
        ),
        *("--tokenizer", str(tokenizer), "--use-server-token-count", "--artifact-dir", str(folder.resolve())),
        *("--ui", "none", "--no-gpu-telemetry", "--no-server-metrics"),
        *(("--api-key", work.api_key) if work.api_key else ()),
    ]


def run(work: Work, program: str, folder: Path) -> Figures:
    """Raises LoadTestError where it fails."""
    environment = dict(os.environ)
    environment.pop("HF_HUB_OFFLINE", None)  # with it, some versions look for the tokenizer's folder on a hub
    run_client(command(work, program, folder), folder, work.timeout_s, environment)
    try:
        found = json.loads((folder / "profile_export_aiperf.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LoadTestError(f"aiperf wrote no result. It said: {last_words(folder)}") from None
    return figures(found)


def figures(found: dict[str, Any]) -> Figures:
    """Of `profile_export_aiperf.json`."""
    try:
        ttft, tpot = found["time_to_first_token"], found["inter_token_latency"]
        return Figures(
            ttft_p50_ms=_in(ttft, "ms", "p50"),
            ttft_p99_ms=_in(ttft, "ms", "p99"),
            tpot_mean_ms=_in(tpot, "ms", "avg"),
            tpot_p50_ms=_in(tpot, "ms", "p50"),
            output_tokens_per_s=_in(found["output_token_throughput"], "tokens/sec", "avg"),
            requests_per_s=_in(found["request_throughput"], "requests/sec", "avg"),
            completed=int(found["request_count"]["avg"]),
            failed=int((found.get("error_request_count") or {"avg": 0})["avg"]),
            version=found["aiperf_version"],
        )
    except KeyError as error:
        raise LoadTestError(f"aiperf's result has no {error}: a version that is not known here.") from None


def _in(metric: dict[str, Any], unit: str, statistic: str) -> float:
    if metric["unit"] != unit:
        raise LoadTestError(f"aiperf's result is in {metric['unit']}, not in {unit}: a version that is not known here.")
    return float(metric[statistic])
