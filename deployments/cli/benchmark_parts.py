"""`stageline benchmark nodes`, `scaling`, `faults` and `overhead`: several nodes, loads that change, a node that is
lost, what it costs to look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from deployments.cli.benchmark_common import HERE, Key, Output, kept, require, told
from deployments.settings import load_settings

PEAK = str(HERE / "scenarios" / "peak.yaml")

Config = Annotated[Path | None, typer.Option(help="What to serve, instead of the part's own configuration.")]
Model = Annotated[str, typer.Option("--model", help="Which of the configuration's models, or model:variant.")]


def nodes(
    config: Config = None,
    model: Model = "",
    scenario: Annotated[
        str, typer.Option(help="File, or one of the load harness's own; a closed loop of one kind of requests.")
    ] = "generation",
    count: Annotated[list[int] | None, typer.Option(min=1, help="Nodes, once for each number; 1, 2 and 3.")] = None,
    cores: Annotated[
        int | None,
        typer.Option(min=1, help="Of the machine, for all nodes together; all. A number that nodes can share is best."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; medians of these are compared.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement, after 3 s that do not count.")] = 10.0,
    delay: Annotated[
        list[float] | None, typer.Option(min=0, help="ms that a slow link adds to a round trip; 1 and 10. 0: none.")
    ] = None,
    output: Output = None,
) -> None:
    """The same load on 1, 2 and 3 nodes with the same cores together: the model in stages, or in replicas, and the
    plain baseline with as many replicas. Speed, bytes over the network, and what a slow link costs. Starts real nodes
    in network namespaces (needs root)."""
    require()
    from cluster.node import available_cores
    from deployments.benchmark.nodes import Plan, bench_nodes
    from loadtest.scenario import load_scenario

    console = Console(stderr=True)
    path = config or HERE / "optimized.yaml"
    standard = not any((config, model, count, cores, delay)) and (scenario, seconds) == ("generation", 10.0)
    with told(console):
        plan = Plan(
            load_scenario(Path(scenario)),
            model,
            tuple(count or (1, 2, 3)),
            cores or available_cores(),
            rounds,
            seconds,
            tuple(one for one in (delay or (1.0, 10.0)) if one),
        )
        results = kept(output, "nodes", path, standard=standard)
        bench_nodes(plan, load_settings(path), console, results)
        show(results.folder, console)


def scaling(
    scenario: Annotated[str, typer.Argument(help="step, burst or day of the load harness, or a file.")] = "step",
    config: Config = None,
    url: Annotated[str | None, typer.Option(help="A server that runs already.")] = None,
    api_key: Key = "",
    output: Output = None,
) -> None:
    """A load that changes: which variants answer, how many replicas they get, how long callers wait, and whether the
    objective is kept. The last is told, and is no failure."""
    require()
    from deployments.benchmark.scaling import Plan, bench_scaling
    from deployments.benchmark.stored import pack
    from loadtest.scenario import load_scenario

    console = Console(stderr=True)
    path = config or HERE / "scaling.yaml"
    with told(console):
        wanted = load_scenario(Path(scenario))
        urls = {"server": url} if url else None
        standard = not any((config, url)) and scenario == wanted.name
        results = kept(output, f"scaling-{wanted.name}", path, standard=standard, urls=urls)
        run = results.folder / wanted.name
        results.result(bench_scaling(Plan(wanted, url, api_key), load_settings(path), console, run))
        pack(run)
        show(results.folder, console)


def faults(
    config: Config = None,
    model: Model = "",
    scenario: Annotated[str, typer.Option(help="File, or one of the load harness's own; an open loop.")] = PEAK,
    nodes: Annotated[int, typer.Option(min=2, help="Beside the head.")] = 3,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs of each node that Ray may give away.")] = 1,
    at: Annotated[
        float | None, typer.Option(min=1, help="Seconds from the start until the loss; by default at the peak.")
    ] = None,
    away: Annotated[float, typer.Option(min=0, help="Seconds until the node is started again.")] = 12.0,
    output: Output = None,
) -> None:
    """A node is killed at the peak of the load. Exit status 1 where a request was lost, an answer has another length
    than asked, or a replica did not come back. Starts real nodes in network namespaces (needs root)."""
    require()
    from deployments.benchmark.faults import RUN, Plan, bench_faults, nothing_lost
    from deployments.benchmark.stored import pack
    from loadtest.scenario import load_scenario

    console = Console(stderr=True)
    path = config or HERE / "faults.yaml"
    standard = not any((config, model, at)) and (scenario, nodes, cpus, away) == (PEAK, 3, 1, 12.0)
    with told(console):
        plan = Plan(load_scenario(Path(scenario)), path, model, nodes, cpus, at, away)
        results = kept(output, "faults", path, standard=standard)
        result = bench_faults(plan, load_settings(path), console, results.folder / RUN)
        results.result(result)
        pack(results.folder / RUN)
        show(results.folder, console)
    if not nothing_lost(result):
        raise typer.Exit(1)


def overhead(
    config: Config = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; medians of these are compared.")] = 9,
    seconds: Annotated[float, typer.Option(min=1, help="Of each server for each line of a round.")] = 6.0,
    output: Output = None,
) -> None:
    """What it costs to see inside and to keep out: a server with keys, logs, traces and scraped metrics against one
    without; and one that traces and logs every request. Exit status 1 where the first is slower by more than 3%, where
    metrics take over 1% of a core, or where requests fail."""
    require()
    from deployments.benchmark.overhead import Plan, bench_overhead
    from deployments.benchmark.overhead_costs import complaints
    from deployments.benchmark.ratios import LEAST_ROUNDS
    from deployments.benchmark.stored import read_result
    from deployments.benchmark.works import SCENARIOS

    console = Console(stderr=True)
    path = config or HERE / "optimized.yaml"
    standard = config is None and seconds >= 6 and rounds >= LEAST_ROUNDS
    results = kept(output, "overhead", path, standard=standard)
    with told(console):
        bench_overhead(Plan(SCENARIOS, rounds, seconds), load_settings(path), console, results)
    show(results.folder, console)
    if complaints(read_result(results.folder)):
        raise typer.Exit(1)


def show(folder: Path, console: Console) -> None:
    """The table, and as the last line where all of it is."""
    from deployments.benchmark.pages import page

    console.print(Markdown(page(folder)))
    typer.echo(str(folder))
