"""`stageline benchmark`: the article's table with this cluster's figures. The last line printed is where they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deployments.settings import load_settings
from engine.errors import ConfigError, EngineFailed, StagelineError

OPTIMIZED_CONFIG = Path(__file__).parents[1] / "benchmark" / "optimized.yaml"

NEEDS = ("accelerate", "locust", "matplotlib", "sacrebleu", "transformers")

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
        str | None, typer.Option(help="A Stageline that runs already, with the configuration's models.")
    ] = None,
    baseline_url: Annotated[str | None, typer.Option(help="A baseline that runs already.")] = None,
    baseline_replicas: Annotated[int, typer.Option(min=1, help="How many replicas that one has.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; medians of these are compared.")] = 3,
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
    output: Annotated[Path | None, typer.Option(help="Folder of the results; a new one in loadtest/results.")] = None,
) -> None:
    """Measure and write the table. Exit status 1 where a ratio is not above the article's."""
    if context.invoked_subcommand is not None:
        return
    _require(NEEDS)
    from deployments.benchmark.peers_http import commanded_peer, known_peers, named_peer
    from deployments.benchmark.run import Plan, bench_table
    from deployments.benchmark.stored import store
    from deployments.benchmark.table import complaints, notes, rich_tables
    from deployments.benchmark.works import SCENARIOS, choose_works
    from deployments.cli.signals import Stopped, stopping
    from loadtest.errors import LoadTestError
    from loadtest.run import results_folder

    path = config or OPTIMIZED_CONFIG
    works = choose_works(task or ())
    others = (
        *(known_peers(peers) if peers is not None else ()),
        *(named_peer(one) for one in peer or ()),
        *(commanded_peer(one) for one in peer_command or ()),
    )
    if others and not any(work.task == "generation" for work in works):
        raise ConfigError("Peers generate, and nothing else: add --task generation.", param="peers")
    plan = Plan(
        path, works, scenarios or SCENARIOS, rounds, seconds, url, baseline_url, baseline_replicas, tuple(others)
    )
    console = Console(stderr=True)
    with stopping():
        try:
            result, requests = bench_table(plan, load_settings(path), console)
        except LoadTestError as error:
            raise failure(error) from error
        except Stopped as stopped:
            console.print("Stopped.")
            raise typer.Exit(stopped.exit_status) from None
    folder = output or results_folder("table")
    store(folder, result, requests)
    for shown in rich_tables(result):
        console.print(shown)
    for note in notes(result):
        console.print(f"  {note}", highlight=False, markup=False)
    faults = complaints(result)
    for fault in faults:
        console.print(f"[red]{fault}[/]", highlight=False)
    typer.echo(str(folder))
    if faults:
        raise typer.Exit(1)


def _require(packages: tuple[str, ...]) -> None:
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"The benchmark needs {', '.join(missing)}, which the server does not. Install with: "
            "pip install 'stageline[bench]'"
        )


def failure(error: Exception) -> StagelineError:
    """The harness knows nothing of our errors."""
    return EngineFailed(str(error))


@benchmark.command("docs")
def docs() -> None:
    """Write docs/benchmarks.md from the results that are kept in loadtest/results."""
    from deployments.benchmark.docs import PAGE, RESULTS, write_page

    if not RESULTS.is_dir():
        raise ConfigError(f"There are no results in {RESULTS}: measure first.")
    write_page()
    typer.echo(str(PAGE))
