"""`stageline benchmark`: the article's table with this cluster's figures. The last line printed is where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deployments.cli.benchmark_common import HERE, Key, Output, kept, require, told
from deployments.settings import load_settings
from engine.errors import ConfigError

OPTIMIZED_CONFIG = HERE / "optimized.yaml"

benchmark = typer.Typer(
    help="The article's table, measured here: a plain baseline against Stageline, over HTTP.",
    invoke_without_command=True,
)


@benchmark.callback()
def table(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="What to serve; by default the demo's models in their fastest variants.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="A Stageline that runs already, with the configuration's models; needs --baseline-url."),
    ] = None,
    baseline_url: Annotated[
        str | None,
        typer.Option(
            help="A baseline that runs already on the same machines: python -m deployments.benchmark.baseline CONFIG "
            "--address RAY --host 0.0.0.0 --port 8001 --replicas N, on a Ray cluster that runs no Serve."
        ),
    ] = None,
    baseline_replicas: Annotated[
        int | None, typer.Option(min=1, help="How many replicas of each model that baseline has; 1.")
    ] = None,
    api_key: Key = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; medians of these are compared.")] = 9,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Of each measurement; by default what its scenario says.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="generation, classification or translation; all if left out.")
    ] = None,
    scenarios: Annotated[Path | None, typer.Option(help="Folder with other scenarios of the same names.")] = None,
    peers: Annotated[
        Path | None,
        typer.Option(help="Python of an environment with llama-cpp-python and its extra `server`, or with vLLM."),
    ] = None,
    peer: Annotated[list[str] | None, typer.Option(help="NAME=URL: a server with OpenAI's API, the same.")] = None,
    peer_command: Annotated[
        list[str] | None,
        typer.Option(help="NAME=COMMAND, with {model}, {host}, {port} and {threads}: one to start, the same."),
    ] = None,
    output: Output = None,
) -> None:
    """Measure and write the table. Exit status 1 where a ratio is not above the article's for certain, and where
    something speaks against the figures: failed requests, other lengths, a client that was too slow."""
    if context.invoked_subcommand is not None:
        return
    require()
    from deployments.benchmark.complaints import complaints, doubts
    from deployments.benchmark.peers_http import commanded_peer, known_peers, named_peer, refuse_names
    from deployments.benchmark.ratios import LEAST_ROUNDS
    from deployments.benchmark.run import Plan, bench_table
    from deployments.benchmark.stored import read_result
    from deployments.benchmark.terminal import notes, rich_tables
    from deployments.benchmark.works import SCENARIOS, WORKS, choose_works

    path = config or OPTIMIZED_CONFIG
    works = choose_works(task or ())
    others = (
        *(known_peers(peers) if peers is not None else ()),
        *(named_peer(one) for one in peer or ()),
        *(commanded_peer(one) for one in peer_command or ()),
    )
    refuse_names(others)
    if others and not any(work.task == "generation" for work in works):
        raise ConfigError("Peers generate, and nothing else: add --task generation.", param="peers")
    urls = _urls(url, baseline_url, baseline_replicas)
    plan = Plan(works, scenarios or SCENARIOS, rounds, seconds, urls, api_key, baseline_replicas or 1, tuple(others))
    standard = works == WORKS and rounds >= LEAST_ROUNDS and not any((config, urls, seconds, scenarios))
    console = Console(stderr=True)
    settings = load_settings(path)
    named = {} if urls is None else dict(zip(("baseline", "optimized"), urls, strict=True))
    results = kept(output, "table", path, standard=standard, urls=named)
    with told(console):
        bench_table(plan, settings, console, results)
    result = read_result(results.folder)
    for shown in rich_tables(result):
        console.print(shown)
    for note in notes(result):
        console.print(f"  {note}", highlight=False, markup=False)
    faults = complaints(result)
    for doubt in [one for one in doubts(result) if one not in faults]:
        console.print(f"[yellow]{doubt}[/]", highlight=False)
    for fault in faults:
        console.print(f"[red]{fault}[/]", highlight=False)
    typer.echo(str(results.folder))
    if faults:
        raise typer.Exit(1)


def _urls(url: str | None, baseline_url: str | None, replicas: int | None) -> tuple[str, str] | None:
    """Of the baseline and of Stageline. Raises ConfigError where only one of them runs already: the other would be
    started on the client's machine, which is no comparison."""
    if url and baseline_url:
        return baseline_url.rstrip("/"), url.rstrip("/")
    if url or baseline_url:
        raise ConfigError(
            "--url and --baseline-url go together: both on the same machines. How to start a baseline there: "
            "stageline benchmark --help.",
            param="url",
        )
    if replicas is not None:
        raise ConfigError("--baseline-replicas is of a baseline that runs already: give --baseline-url.", param="url")
    return None


@benchmark.command("docs")
def docs() -> None:
    """Write docs/benchmarks.md from the results that are kept in loadtest/results, and their tables and pictures
    again."""
    from deployments.benchmark.docs import PAGE, RESULTS, write_page

    if not RESULTS.is_dir():
        raise ConfigError(f"There are no results in {RESULTS}: measure first.")
    write_page()
    typer.echo(str(PAGE))
