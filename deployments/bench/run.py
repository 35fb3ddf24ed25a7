"""The two benchmarks: the engine alone, and the whole way through HTTP against it and against a plain baseline."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from cluster.node import available_cores, free_ports
from deployments.bench.client import load
from deployments.bench.contender import contender
from deployments.bench.machine import provenance
from deployments.bench.rounds import alternate, summary
from deployments.cli.fetch import fetch_models
from deployments.settings import Model, Settings, Variant
from engine.errors import EngineFailed

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0
PREFILL = 512  # tokens of the prompt that prefill is measured with


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked of every contender: `streams` answers of `tokens` tokens to prompts of `prompt` tokens."""

    streams: int
    tokens: int
    prompt: int
    rounds: int


def bench_engine(settings: Settings, work: Work, console: Console) -> dict[str, Any]:
    """The engine in process: decoding with one stream and with many, prefill, and memory."""
    model, variant, path, cores = first_model(settings, console)
    with ExitStack() as stack:
        console.print(f"Loading {model.name}:{variant.name} ...")
        engine = stack.enter_context(contender("engine", path, engine_options(model, variant, cores)))
        measures = {
            "1 stream": lambda: rate(engine.run(streams=1, tokens=work.tokens, prompt=work.prompt)),
            f"{work.streams} streams": lambda: rate(
                engine.run(streams=work.streams, tokens=work.tokens, prompt=work.prompt)
            ),
            f"prefill of {PREFILL}": lambda: PREFILL / engine.run(streams=1, tokens=1, prompt=PREFILL)["first_s"],
        }
        samples = alternate(measures, work.rounds, console)
    return {
        "benchmark": "engine",
        **provenance(),
        "model": model.name,
        "variant": variant.name,
        "work": asdict(work),
        "tokens_per_s": summary(samples),
        "engine": engine.facts,
    }


def bench_http(settings: Settings, config: Path, work: Work, console: Console) -> dict[str, Any]:
    """Streams through HTTP, the same in process, and transformers in fp32 one request at a time."""
    model, variant, path, cores = first_model(settings, console)
    with ExitStack() as stack:
        console.print("Starting the server ...")
        port, start = stack.enter_context(server(config))
        first = asyncio.run(load("127.0.0.1", port, model.name, streams=1, prompt=work.prompt, tokens=1))
        console.print("Loading the others ...")
        engine = stack.enter_context(contender("engine", path, engine_options(model, variant, cores)))
        first_tokens: list[float] = []

        def through_http() -> float:
            started = time.perf_counter()
            size = {"streams": work.streams, "prompt": work.prompt, "tokens": work.tokens}
            # Other prompts at each turn, or the prefix cache would have them.
            results = asyncio.run(load("127.0.0.1", port, model.name, **size, turn=len(first_tokens) + 1))
            first_tokens.append(statistics.median(result.first_s for result in results))
            return sum(result.tokens for result in results) / (time.perf_counter() - started)

        measures = {
            "http": through_http,
            "in process": lambda: rate(engine.run(streams=work.streams, tokens=work.tokens, prompt=work.prompt)),
        }
        if importlib.util.find_spec("transformers") is not None:
            plain = stack.enter_context(contender("transformers", path, {"threads": cores}))
            measures["transformers"] = lambda: rate(plain.run(streams=1, tokens=work.tokens, prompt=work.prompt))
        samples = alternate(measures, work.rounds, console)
    rates = {name: statistics.median(values) for name, values in samples.items()}
    return {
        "benchmark": "http",
        **provenance(),
        "model": model.name,
        "variant": variant.name,
        "work": asdict(work),
        "tokens_per_s": summary(samples),
        "http_share_of_in_process": rates["http"] / rates["in process"],
        "http_against_transformers": rates["http"] / rates["transformers"] if "transformers" in rates else None,
        "seconds_to_ready": start,
        "first_token_after_ready_ms": 1000 * first[0].first_s,
        "median_first_token_under_load_ms": 1000 * statistics.median(first_tokens[1:]),
        "engine": engine.facts,
    }


def first_model(settings: Settings, console: Console) -> tuple[Model, Variant, Path, int]:
    """What is measured: the first model's first variant, with the cores that a server would give it."""
    settings = settings.with_cores(available_cores())
    paths = fetch_models(settings, console)
    model = settings.models[0]
    variant = model.variants[0]
    assert variant.cores is not None
    return model, variant, paths[model.name], variant.cores


def engine_options(model: Model, variant: Variant, cores: int) -> dict[str, Any]:
    return asdict(model.engine_config(variant, cores=cores))


def rate(answer: dict[str, Any]) -> float:
    """Generated tokens per second."""
    return float(answer["tokens"] / answer["seconds"])


@contextmanager
def server(config: Path) -> Iterator[tuple[int, float]]:
    """`stageline serve CONFIG` on a free port, and the seconds that it took to get ready; ended on leaving."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "deployments.cli", "serve", str(config), "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            while not answers(port):
                if process.poll() is not None or time.monotonic() - started > START_TIMEOUT_S:
                    log.seek(0)
                    raise EngineFailed(f"the server did not start: {log.read().decode(errors='replace')[-500:]}")
                time.sleep(0.1)
            yield port, time.monotonic() - started
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False
