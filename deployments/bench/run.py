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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from cluster.node import available_cores, free_ports
from deployments.bench.client import load
from deployments.bench.contender import Contender, contender, peer
from deployments.bench.machine import provenance
from deployments.bench.rounds import PAUSE_S, alternate, peer_name, ratios, summary
from deployments.cli.evaluate import choose
from deployments.cli.fetch import fetch_models
from deployments.settings import Model, Settings, Variant
from deployments.variant_files import own_files
from engine.errors import ConfigError, EngineFailed

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0
PREFILL = 512  # tokens of the prompt that prefill is measured with
PEERS = {"llama.cpp": "llama.cpp", "OpenVINO GenAI": "openvino"}  # and their kinds, see `peers.py`


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked of every contender: `streams` answers of `tokens` tokens to prompts of `prompt` tokens."""

    streams: int
    tokens: int
    prompt: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is measured, the files of its model (`base`, which peers read) and its own, and how many threads it runs."""

    model: Model
    variant: Variant
    base: Path
    path: Path
    cores: int

    @property
    def asked(self) -> str:
        """As requests name it."""
        return f"{self.model.name}:{self.variant.name}"


def bench_engine(
    settings: Settings, work: Work, console: Console, model: str = "", peers: Path | None = None
) -> dict[str, Any]:
    """The engine in process: decoding with one stream and with many, prefill, and memory; and `peers` on the same file,
    run by the Python of an environment that has them."""
    chosen = choose_generator(settings, model, console)
    if peers is not None and chosen.base.suffix != ".gguf":
        raise ConfigError(f"The peers of generation read GGUF files; {chosen.base.name} is none.", param="peers")
    with ExitStack() as stack:
        console.print(f"Loading {chosen.asked} ...")
        engine = stack.enter_context(contender("engine", chosen.path, engine_options(chosen)))
        others: dict[str, Contender] = {}
        for name, kind in PEERS.items() if peers is not None else ():
            assert peers is not None
            console.print(f"Loading {name} ...")
            others[name] = stack.enter_context(peer(peers, kind, chosen.base, {"threads": chosen.cores}))
        measures: dict[str, Callable[[], float]] = {}
        for what, measure in generation_works(work).items():
            measures[what] = partial(measure, engine)
            measures |= {peer_name(name, what): partial(measure, other) for name, other in others.items()}
        samples = alternate(measures, work.rounds, console, PAUSE_S if others else 0.0)
    return {
        "benchmark": "engine",
        **provenance(),
        "model": chosen.model.name,
        "variant": chosen.variant.name,
        "threads": chosen.cores,
        "work": asdict(work),
        "tokens_per_s": summary(samples),
        "against": ratios(samples, others),
        "engine": engine.facts,
        "peers": {name: other.facts for name, other in others.items()},
    }


def generation_works(work: Work) -> dict[str, Callable[[Contender], float]]:
    """Tokens per second of one stream, of many, and of a long prompt, by a contender of any kind."""

    def generate(who: Contender, streams: int) -> float:
        return rate(who.run(streams=streams, tokens=work.tokens, prompt=work.prompt))

    return {
        "1 stream": partial(generate, streams=1),
        f"{work.streams} streams": partial(generate, streams=work.streams),
        f"prefill of {PREFILL}": lambda who: PREFILL / float(who.run(streams=1, tokens=1, prompt=PREFILL)["seconds"]),
    }


def bench_http(settings: Settings, config: Path, work: Work, console: Console, model: str = "") -> dict[str, Any]:
    """Streams through HTTP, the same in process, and transformers in fp32 one request at a time."""
    chosen = choose_generator(settings.with_cores(available_cores()), model, console)  # as the server does
    with ExitStack() as stack:
        console.print("Starting the server ...")
        port, start = stack.enter_context(server(config))
        first = asyncio.run(load("127.0.0.1", port, chosen.asked, streams=1, prompt=work.prompt, tokens=1))
        console.print("Loading the others ...")
        engine = stack.enter_context(contender("engine", chosen.path, engine_options(chosen)))
        first_tokens: list[float] = []

        def through_http() -> float:
            started = time.perf_counter()
            size = {"streams": work.streams, "prompt": work.prompt, "tokens": work.tokens}
            # Other prompts at each turn, or the prefix cache would have them.
            results = asyncio.run(load("127.0.0.1", port, chosen.asked, **size, turn=len(first_tokens) + 1))
            first_tokens.append(statistics.median(result.first_s for result in results))
            return sum(result.tokens for result in results) / (time.perf_counter() - started)

        measures = {
            "http": through_http,
            "in process": lambda: rate(engine.run(streams=work.streams, tokens=work.tokens, prompt=work.prompt)),
        }
        if importlib.util.find_spec("transformers") is not None:
            plain = stack.enter_context(contender("transformers", chosen.base, {"threads": chosen.cores}))
            measures["transformers"] = lambda: rate(plain.run(streams=1, tokens=work.tokens, prompt=work.prompt))
        samples = alternate(measures, work.rounds, console)
    rates = {name: statistics.median(values) for name, values in samples.items()}
    return {
        "benchmark": "http",
        **provenance(),
        "model": chosen.model.name,
        "variant": chosen.variant.name,
        "work": asdict(work),
        "tokens_per_s": summary(samples),
        "http_share_of_in_process": rates["http"] / rates["in process"],
        "http_against_transformers": rates["http"] / rates["transformers"] if "transformers" in rates else None,
        "seconds_to_ready": start,
        "first_token_after_ready_ms": 1000 * first[0].first_s,
        "median_first_token_under_load_ms": 1000 * statistics.median(first_tokens[1:]),
        "engine": engine.facts,
    }


def choose_generator(settings: Settings, asked: str, console: Console) -> Chosen:
    """`model` or `model:variant`; by default the first model that generates, and a model's first variant.

    It gets the cores that the configuration gives it, all of them where that leaves it open.
    """
    generating = [model.name for model in settings.models if model.task == "text-generation"]
    if not asked and not generating:
        raise ConfigError("No model here generates text: use `stageline bench texts`.")
    model, variant = choose(settings, asked or generating[0])
    if model.task != "text-generation":
        raise ConfigError(f"{model.name} is for {model.task}: use `stageline bench texts`.", param="model")
    base = fetch_models(settings.model_copy(update={"models": (model,)}), console)[model.name]
    path = own_files(model, variant, base, console.print)
    return Chosen(model, variant, base, path, variant.cores or available_cores())


def engine_options(chosen: Chosen) -> dict[str, Any]:
    return asdict(chosen.model.engine_config(chosen.variant, cores=chosen.cores))


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
