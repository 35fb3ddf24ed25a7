"""`stageline load`, and `python -m loadtest` for who has nothing else of Stageline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from loadtest.agreement.cli import agree
from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from loadtest.report import Report
    from loadtest.run import Trial
    from loadtest.scenario import Scenario

app = typer.Typer(
    help="Drive load on a server that speaks OpenAI's API, and report what it did.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

LOCAL = "http://127.0.0.1:8000"

ScenarioArgument = Annotated[
    Path, typer.Argument(help="A scenario's file, or the name of one of ours: generation, chat, classification, ...")
]
Url = Annotated[str, typer.Option(help="The server.")]
Output = Annotated[Path | None, typer.Option(help="Folder of the results; by default a new one in loadtest/results.")]
Processes = Annotated[int, typer.Option(min=1, help="The client's processes: more where one is the bottleneck.")]
Seed = Annotated[int | None, typer.Option(help="Of arrivals and contents; the scenario's if left out.")]
Seconds = Annotated[float | None, typer.Option(min=1, help="How long, after the warm-up; the scenario's if left out.")]
Model = Annotated[str, typer.Option(help="Asked of all requests, instead of the scenario's.")]
Key = Annotated[str, typer.Option(envvar="STAGELINE_API_KEY", help="Sent as a Bearer token.")]


@contextmanager
def told() -> Iterator[None]:
    """Errors on purpose end with their words alone, and status 2."""
    try:
        yield
    except LoadTestError as error:
        Console(stderr=True, soft_wrap=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(2) from None


@app.command("run")
def run_command(
    scenario: ScenarioArgument,
    url: Url = LOCAL,
    model: Model = "",
    seconds: Seconds = None,
    seed: Seed = None,
    processes: Processes = 1,
    output: Output = None,
    pictures: Annotated[bool, typer.Option(help="Draw what the report shows.")] = True,
    api_key: Key = "",
) -> None:
    """Run a scenario and report on it. Exit status 1 where its objective was not kept, 2 where the run is not whole."""
    from loadtest.run import Trial, results_folder

    console = Console(stderr=True)
    with told():
        chosen = changed(scenario, model, seconds, seed)
        folder = output or results_folder(chosen.name)
        report = _run(Trial(chosen, url, folder, processes, api_key), console, pictures)
    raise typer.Exit(report.exit_status)


@app.command("search")
def search_command(
    scenario: ScenarioArgument,
    url: Url = LOCAL,
    model: Model = "",
    rate: Annotated[float, typer.Option(min=0.001, help="Requests a second to begin with.")] = 1.0,
    precision: Annotated[float, typer.Option(min=0.01, max=1, help="How close to go: 0.1 is within 10%.")] = 0.1,
    seconds: Seconds = None,
    seed: Seed = None,
    processes: Processes = 1,
    output: Output = None,
    api_key: Key = "",
) -> None:
    """Find the highest rate that keeps a scenario's objective, by bisection, and draw throughput against latency."""
    from loadtest.report.curve import Point, draw_curve
    from loadtest.run import Trial, results_folder
    from loadtest.search import at_rate, best, search

    console = Console(stderr=True)
    points: list[Point] = []
    with told():
        chosen = changed(scenario, model, seconds, seed)
        if chosen.objective == type(chosen.objective)():
            raise LoadTestError(f"{chosen.name} has no objective: there is nothing to search a limit of.")
        folder = output or results_folder(f"{chosen.name}-search")

        def attempt(rate: float) -> bool:
            number = len(points) + 1
            label = f"{rate:.3g}/s"
            console.rule(label)
            here = folder / f"{number:02}-{rate:.3g}"
            trial = Trial(at_rate(chosen, rate, number), url, here, processes, api_key)
            report = _run(trial, console, pictures=False)
            points.append(Point(label, report.summary, report.verdict.kept))
            return report.verdict.kept

        found = best(search(rate, precision, attempt))
        draw_curve(points, folder / "curve.png", chosen.objective, f"{chosen.name}, {url}")
    console.print(f"{folder / 'curve.png'}", highlight=False)
    if found is None:
        console.print("No rate kept the objective.")
        raise typer.Exit(1)
    console.print(f"The objective is kept up to {found:.3g} requests/s.")


@app.command("report")
def report_command(folder: Annotated[Path, typer.Argument(help="A run's folder.")]) -> None:
    """Make a run's report again."""
    from loadtest.console import show
    from loadtest.report import write_report

    with told():
        show(write_report(folder), Console(stderr=True))


def changed(path: Path, model: str = "", seconds: float | None = None, seed: int | None = None) -> Scenario:
    """A scenario as asked on the command line. Raises LoadTestError."""
    from loadtest.run import overridden

    scenario = overridden(path, duration_s=seconds, seed=seed)
    if model:
        requests = tuple(one.model_copy(update={"model": model}) for one in scenario.requests)
        scenario = scenario.model_copy(update={"requests": requests})
    return scenario


def _run(trial: Trial, console: Console, pictures: bool) -> Report:
    from loadtest.console import alarm, show
    from loadtest.report import write_report
    from loadtest.run import run

    try:
        facts = run(trial, console, whole=False)
    except KeyboardInterrupt:
        with suppress(LoadTestError):  # where there was nothing to write yet
            write_report(trial.folder, pictures=pictures)
            console.print(f"Broken off: {trial.folder / 'report.html'}", highlight=False)
        raise typer.Exit(2) from None
    report = write_report(trial.folder, pictures=pictures)
    for words in (facts["client"]["verdict"], facts["tokens"].get("verdict", "")):
        alarm(words, console)
    show(report, console)
    console.print(f"{trial.folder / 'report.html'}", highlight=False)
    return report


app.command("agree")(agree)
