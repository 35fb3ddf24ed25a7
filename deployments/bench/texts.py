"""The benchmarks of classifiers, embedders and translators: the engine in process, through HTTP, and the peers."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.node import available_cores
from cluster.training.data import read_lines
from deployments.bench.client import ask_all
from deployments.bench.contender import Contender, contender, peer
from deployments.bench.machine import provenance
from deployments.bench.rounds import PAUSE_S, alternate, peer_name, ratios, summary
from deployments.bench.run import server
from deployments.cli.fetch import fetch_models
from deployments.measuring.inputs import read_texts
from deployments.settings import Model, Settings, Variant
from deployments.variant_files import own_files
from engine.checkpoint import open_checkpoint
from engine.encoder.describe import describe
from engine.errors import ConfigError, EngineFailed
from engine.text.translation import open_translation_text

CLIENTS = 32
BATCH = 32
SOME = 8  # texts of one request
TARGET_TOKENS = 64  # most of one translation, for everybody
CLASSIFIERS = {  # name: kind of peer (see `peers.py`), precision
    "onnxruntime fp32": ("onnxruntime", "fp32"),
    "onnxruntime int8": ("onnxruntime", "int8"),
    "transformers fp32": ("transformers-encoder", "fp32"),
}
TRANSLATORS = {
    "ctranslate2 float32": ("ctranslate2", "float32"),
    "ctranslate2 int8": ("ctranslate2", "int8"),
    "transformers fp32": ("transformers-translator", "fp32"),
}


@dataclass(frozen=True, slots=True)
class Job:
    """What is measured: a model's variant, on the first `count` texts of `data`.

    `peers` is the Python of an environment that has them, None for going without; without `http` no server is started.
    """

    model: Model
    variant: Variant
    config: Path
    data: Path
    count: int
    rounds: int
    peers: Path | None
    http: bool = True

    @property
    def asked(self) -> str:
        """As requests name it."""
        return f"{self.model.name}:{self.variant.name}"


def bench_texts(settings: Settings, job: Job, console: Console) -> dict[str, Any]:
    """The benchmark of the model's task."""
    base = fetch_models(settings.model_copy(update={"models": (job.model,)}), console)[job.model.name]
    cores = job.variant.cores or available_cores()
    kinds = {"translation": bench_translator, "text-classification": bench_encoder, "embedding": bench_encoder}
    if job.model.task not in kinds:
        raise ConfigError(f"{job.model.name} is for {job.model.task}: use `stageline bench engine` or `http`.")
    return kinds[job.model.task](job, base, cores, console)


def bench_encoder(job: Job, base: Path, cores: int, console: Console) -> dict[str, Any]:
    """A classifier against ONNX Runtime and transformers; packed batches against padded ones; and through HTTP."""
    texts = read_texts(job.data)[: job.count]
    tokens = tokens_of(job.model, base, job.data, job.count)
    classifies = job.model.task == "text-classification"
    options = {**asdict(job.model.encoder_config(job.variant, cores=cores)), "task": job.model.task}
    path_of = "/classify" if classifies else "/v1/embeddings"
    bodies = [json.dumps({"model": job.asked, "input": text}).encode() for text in texts]
    lists = [json.dumps({"model": job.asked, "input": some}).encode() for some in _lists(texts)]
    few = tokens[: 2 * BATCH]
    with ExitStack() as stack:
        engine = stack.enter_context(contender("encoder", _own_files(job, base, console), options))
        runs: dict[str, Callable[[], float]] = {
            "one at a time": lambda: _rate(engine, few, batch=1),
            f"batches of {BATCH}": lambda: _rate(engine, tokens, batch=BATCH),
            "all at once, packed": lambda: _rate(engine, tokens, batch=len(tokens)),
            f"batches of {BATCH}, padded": lambda: _rate(engine, tokens, batch=BATCH, padded=True),
        }
        if job.http:
            port = _server(stack, job, console)
            runs |= {
                f"http, {CLIENTS} clients": lambda: len(texts) / _http(port, path_of, bodies),
                f"http, {CLIENTS} clients, {SOME} texts at once": lambda: len(texts) / _http(port, path_of, lists),
            }
        others = _peers(stack, job, base, cores, CLASSIFIERS if classifies else {}, console)
        for name, other in others.items():
            _agree(name, engine, other, few)
            runs[peer_name(name, "one at a time")] = partial(_rate, other, few, batch=1)
            runs[peer_name(name, f"batches of {BATCH}")] = partial(_rate, other, tokens, batch=BATCH)
        samples = alternate(runs, job.rounds, console, PAUSE_S if others else 0.0)
    return _result("encoder", job, cores, samples, engine, others, sum(map(len, tokens)) / len(tokens))


def bench_translator(job: Job, base: Path, cores: int, console: Console) -> dict[str, Any]:
    """Greedy and with four beams, against CTranslate2 and transformers; and through HTTP."""
    with open_checkpoint(base) as checkpoint:
        source, target = open_translation_text(checkpoint, job.model.pairs).pairs[0]
    sentences = read_lines(job.data)[: job.count]
    tokens = tokens_of(job.model, base, job.data, job.count)
    options = asdict(job.model.seq2seq_config(job.variant, cores=cores))
    asked = {"source": source, "target": target, "beams": 1}
    bodies = [json.dumps({"q": sentence, **asked}).encode() for sentence in sentences]
    lists = [json.dumps({"q": some, **asked}).encode() for some in _lists(sentences)]
    few = tokens[: 2 * BATCH]

    def rate(who: Contender, some: list[list[int]], batch: int, beams: int, **more: Any) -> float:
        return _rate(who, some, batch=batch, beams=beams, tokens=TARGET_TOKENS, **more)

    with ExitStack() as stack:
        engine = stack.enter_context(contender("translator", _own_files(job, base, console), options))
        runs: dict[str, Callable[[], float]] = {
            f"{CLIENTS} at once, joining and leaving, greedy": partial(
                rate, engine, tokens, CLIENTS, 1, continuous=True
            ),
        }
        if job.http:
            port, size = _server(stack, job, console), len(sentences)
            runs |= {
                f"http, {CLIENTS} clients, greedy": lambda: size / _http(port, "/translate", bodies),
                f"http, {CLIENTS} clients, {SOME} texts at once, greedy": lambda: (
                    size / _http(port, "/translate", lists)
                ),
            }
        others = _peers(stack, job, base, cores, TRANSLATORS, console)
        if slowest := others.get("transformers fp32"):
            runs["transformers fp32, one at a time, greedy"] = partial(rate, slowest, few, 1, 1)
        for beams, how in ((1, "greedy"), (4, "4 beams")):
            work = f"batches of {BATCH}, {how}"
            runs[work] = partial(rate, engine, tokens, BATCH, beams)
            runs |= {peer_name(name, work): partial(rate, who, tokens, BATCH, beams) for name, who in others.items()}
        samples = alternate(runs, job.rounds, console, PAUSE_S if others else 0.0)
    return _result("translator", job, cores, samples, engine, others, sum(map(len, tokens)) / len(tokens))


def tokens_of(model: Model, base: Path, data: Path, count: int | None = None) -> list[list[int]]:
    """The first texts of a file as the model's tokens, None for all."""
    with open_checkpoint(base) as checkpoint:
        if model.task == "translation":
            text = open_translation_text(checkpoint, model.pairs)
            source, target = text.pairs[0]
            return [list(text.encode(sentence, source, target)[0]) for sentence in read_lines(data)[:count]]
        tokenizer = checkpoint.tokenizer()
        longest = describe(checkpoint, model.task).max_tokens  # type: ignore[arg-type]
    return [tokenizer.encode(text)[:longest] for text in read_texts(data)[:count]]


def _peers(
    stack: ExitStack, job: Job, base: Path, cores: int, kinds: Mapping[str, tuple[str, str]], console: Console
) -> dict[str, Contender]:
    """The peers of these kinds, running; none where the job goes without."""
    found: dict[str, Contender] = {}
    for name, (kind, precision) in kinds.items() if job.peers is not None else ():
        assert job.peers is not None
        console.print(f"Loading {name} ...")
        found[name] = stack.enter_context(peer(job.peers, kind, base, {"threads": cores, "precision": precision}))
    return found


def _own_files(job: Job, base: Path, console: Console) -> Path:
    return own_files(job.model, job.variant, base, console.print)


def _server(stack: ExitStack, job: Job, console: Console) -> int:
    console.print("Starting the server ...")
    port, _ = stack.enter_context(server(job.config))
    return port


def _http(port: int, path: str, bodies: list[bytes]) -> float:
    """Seconds until all are answered."""
    started = time.perf_counter()
    asyncio.run(ask_all("127.0.0.1", port, path, bodies, CLIENTS))
    return time.perf_counter() - started


def _lists(texts: list[str]) -> list[list[str]]:
    return [texts[at : at + SOME] for at in range(0, len(texts), SOME)]


def _rate(who: Contender, texts: list[list[int]], **command: Any) -> float:
    """Texts per second."""
    return len(texts) / float(who.run(texts=texts, **command)["seconds"])


def _agree(name: str, one: Contender, other: Contender, texts: list[list[int]]) -> None:
    """A contender that computes something else is no contender."""
    mine, theirs = (who.run(texts=texts, batch=BATCH)["out"] for who in (one, other))
    same = sum(a == b for a, b in zip(mine, theirs, strict=True)) / len(mine)
    if same < 0.95:
        raise EngineFailed(f"{name} gives other classes: only {same:.0%} are the same")


def _result(
    kind: str,
    job: Job,
    cores: int,
    samples: dict[str, list[float]],
    engine: Contender,
    others: Mapping[str, Contender],
    length: float,
) -> dict[str, Any]:
    return {
        "benchmark": kind,
        **provenance(),
        "model": job.model.name,
        "variant": job.variant.name,
        "threads": cores,
        "texts": job.count,
        "mean_tokens": round(length, 1),
        "texts_per_s": summary(samples),
        "medians": {name: statistics.median(values) for name, values in samples.items()},
        "against": ratios(samples, others),
        "engine": engine.facts,
        "peers": {name: other.facts for name, other in others.items()},
    }
