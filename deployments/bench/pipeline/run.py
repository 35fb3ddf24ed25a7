"""A pipeline against one process with the same cores, in one run: throughput, the time of a hop, memory, the bubble."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from rich.console import Console

from deployments.bench.contender import Contender, Start, contender
from deployments.bench.machine import provenance
from deployments.bench.pipeline.timeline import Span, busy, median_hop_ms
from deployments.bench.rounds import alternate, summary
from deployments.bench.run import Chosen, Work, choose_generator, engine_options, generation_works
from deployments.pipelines import Cut
from deployments.serving import local_environment
from deployments.settings import Settings
from deployments.settings.stages import Placement
from engine.errors import ConfigError

TRACED_TOKENS = 32  # of each stream while batches are traced


@dataclass(frozen=True, slots=True)
class Shape:
    """How the model is cut: so many stages, or as `balance` says; on `nodes` nodes of this machine (1: without network
    namespaces)."""

    stages: int
    balance: tuple[int, ...] | None
    nodes: int


def bench_pipeline(settings: Settings, work: Work, shape: Shape, console: Console, model: str = "") -> dict[str, Any]:
    """All of the machine's cores for one process, and shared among the stages. Raises ConfigError and EngineFailed."""
    chosen = choose_generator(settings, model, console)
    cores = chosen.cores // shape.stages
    if cores == 0:
        raise ConfigError(
            f"{shape.stages} stages need a core each, and this machine has {chosen.cores}.", param="stages"
        )
    if 1 < shape.nodes < shape.stages:
        raise ConfigError(
            f"{shape.stages} stages need as many nodes, or one: take --nodes {shape.stages}.", param="nodes"
        )
    placement: Placement = "pack" if shape.nodes == 1 else "strict-spread"
    cut = Cut(shape.stages, shape.balance, placement, float(cores), 0.0, repair_limit_s=10.0)
    options = {"cut": asdict(cut), "engine": {**engine_options(chosen), "threads": cores}}
    with ExitStack() as stack:
        console.print(f"Loading {chosen.asked} in one process ...")
        one = stack.enter_context(
            contender("engine", chosen.path, engine_options(replace(chosen, cores=cores * shape.stages)))
        )
        address, start = stack.enter_context(_cluster(shape, cores, console))
        console.print(f"Loading it in {shape.stages} stages ...")
        more = {"address": address}
        several = stack.enter_context(contender("pipeline", chosen.path, {**options, **more}, **start))
        contenders = {"one process": one, "pipeline": several}
        measures: dict[str, Callable[[], float]] = {
            f"{name}, {what}": partial(measure, who)
            for what, measure in generation_works(work).items()
            for name, who in contenders.items()
        }
        samples = alternate(measures, work.rounds, console)
        single, _ = _traced(several, 1, work)
        many, stages = _traced(several, work.streams, work)
    return _result(chosen, work, shape, samples, {**one.facts, "stages": stages}, single, many)


def _result(
    chosen: Chosen,
    work: Work,
    shape: Shape,
    samples: dict[str, list[float]],
    facts: dict[str, Any],
    single: list[Span],
    many: list[Span],
) -> dict[str, Any]:
    efficiency = {
        what: statistics.median(samples[f"pipeline, {what}"]) / statistics.median(samples[f"one process, {what}"])
        for what in generation_works(work)
    }
    shares = busy(many, shape.stages)
    return {
        "benchmark": "pipeline",
        **provenance(),
        "model": chosen.model.name,
        "variant": chosen.variant.name,
        "work": asdict(work),
        "shape": asdict(shape),
        "tokens_per_s": summary(samples),
        "efficiency": {what: round(value, 3) for what, value in efficiency.items()},
        "hop_ms": round(median_hop_ms(single), 3),
        "busy": [round(share, 3) for share in shares],
        "bubble": round(1 - sum(shares) / len(shares), 3),
        "stages": facts.pop("stages"),
        "one_process": facts,
        "spans": [asdict(span) for span in many],
    }


def _traced(who: Contender, streams: int, work: Work) -> tuple[list[Span], list[dict[str, Any]]]:
    """Every batch of a run in every stage, and what the stages are after it."""
    who.run(trace=True)
    who.run(streams=streams, tokens=TRACED_TOKENS, prompt=work.prompt)
    told = who.run(trace=False)
    spans = [
        Span(index, one["number"], one["rows"], one["received"], one["started"], one["computed"], one["sent"])
        for index, stage in enumerate(told["traces"])
        for one in stage
    ]
    return spans, told["stages"]


@contextmanager
def _cluster(shape: Shape, cores: int, console: Console) -> Iterator[tuple[str | None, dict[str, Start]]]:
    """An address to join and how to start what joins it; none of both for a node of the worker's own."""
    if shape.nodes == 1:
        yield None, {}
        return
    from cluster.nodes.local_cluster import HEAD, local_cluster
    from cluster.nodes.namespaces import unavailable

    reason = unavailable()
    if reason is not None:
        raise ConfigError(f"Several nodes cannot be had on this machine: {reason}. Use --nodes 1.", param="nodes")
    console.print(f"Starting {shape.nodes} nodes ...")
    with local_cluster(shape.nodes, cpus=cores, environment=local_environment) as cluster:
        yield cluster.address, {"start": partial(cluster.run, HEAD)}
