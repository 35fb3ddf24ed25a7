"""`stageline load`, and `python -m loadtest` for who has nothing else of Stageline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from loadtest.agreement.cli import agree
from loadtest.ending import told
from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from loadtest.report import Report
    from loadtest.run import Trial
    from loadtest.scenario import Scenario
    from loadtest.search import Tried

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
Detailed = Annotated[
    bool, typer.Option("--save-detailed", help="Also what vLLM's --save-detailed adds to result.json, of each request.")
]
Key = Annotated[str, typer.Option(envvar="STAGELINE_API_KEY", help="Sent as a Bearer token.")]


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
    detailed: Detailed = False,
    api_key: Key = "",
) -> None:
    """Run a scenario and report on it. Exit status 1 where its objective was not kept, 2 where the run is not whole."""
    from loadtest.run import Trial, results_folder

    console = Console(stderr=True)
    with told():
        chosen = changed(scenario, model, seconds, seed)
        folder = output or results_folder(chosen.name)
        report, _ = _run(Trial(chosen, url, folder, processes, api_key), console, pictures, detailed)
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
    from loadtest.objective import judge
    from loadtest.report.curve import Point, draw_curve
    from loadtest.report.pictures import NO_MATPLOTLIB, can_draw
    from loadtest.run import Trial, results_folder
    from loadtest.search import Tried, at_rate, best, search
    from loadtest.summary import summarize

    console = Console(stderr=True, soft_wrap=True)
    points: list[Point] = []
    tried: list[Tried] = []
    with told():
        chosen = changed(scenario, model, seconds, seed)
        if not judge(chosen.objective, summarize([], chosen)).promises:
            raise LoadTestError(f"{chosen.name}: its objective promises nothing: there is no limit to search for.")
        folder = output or results_folder(f"{chosen.name}-search")

        def attempt(rate: float) -> bool:
            number = len(points) + 1
            label = f"{rate:.3g}/s"
            console.rule(label)
            here = folder / f"{number:02}-{rate:.3g}"
            trial = Trial(at_rate(chosen, rate, number), url, here, processes, api_key)
            report, bottleneck = _run(trial, console, pictures=False)
            if bottleneck:
                known = best(tried)
                kept = "" if known is None else f" The objective was kept up to {known:.3g}/s."
                raise LoadTestError(f"At {label} the limit was the client's, not the server's. {bottleneck}{kept}")
            points.append(Point(label, report.summary, report.verdict.kept))
            tried.append(Tried(rate, report.verdict.kept))
            _write_search(tried, folder / "search.json")  # each time: what was found is not lost with the next run
            return report.verdict.kept

        found = best(search(rate, precision, attempt, lowest=1 / chosen.duration_s))
        if found is None:
            console.print("No rate kept the objective.")
        else:
            console.print(f"The objective is kept up to {found:.3g} requests/s.")
        console.print(f"{folder / 'search.json'}", highlight=False)
        if not can_draw():
            console.print(NO_MATPLOTLIB, markup=False)
        elif draw_curve(points, folder / "curve.png", chosen.objective, f"{chosen.name}, {url}"):
            console.print(f"{folder / 'curve.png'}", highlight=False)
    if found is None:
        raise typer.Exit(1)


@app.command("report")
def report_command(folder: Annotated[Path, typer.Argument(help="A run's folder.")], detailed: Detailed = False) -> None:
    """Make a run's report again."""
    from loadtest.console import show
    from loadtest.report import write_report

    with told():
        show(write_report(folder, detailed=detailed), Console(stderr=True))


def changed(path: Path, model: str = "", seconds: float | None = None, seed: int | None = None) -> Scenario:
    """A scenario as asked on the command line. Raises LoadTestError."""
    from loadtest.run import overridden

    scenario = overridden(path, duration_s=seconds, seed=seed)
    if model:
        requests = tuple(one.model_copy(update={"model": model}) for one in scenario.requests)
        scenario = scenario.model_copy(update={"requests": requests})
    return scenario


def _write_search(tried: Sequence[Tried], path: Path) -> None:
    from loadtest.search import best

    content = {"kept_up_to": best(tried), "tried": [asdict(one) for one in tried]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _run(trial: Trial, console: Console, pictures: bool, detailed: bool = False) -> tuple[Report, str]:
    """The report, and why the client was the bottleneck: "" where it was not."""
    from loadtest.console import alarm, show
    from loadtest.report import write_report
    from loadtest.run import run

    try:
        facts = run(trial, console, whole=False)
    except KeyboardInterrupt:
        with suppress(LoadTestError):  # where there was nothing to write yet
            write_report(trial.folder, pictures=pictures, detailed=detailed)
            console.print(f"Broken off: {trial.folder / 'report.html'}", highlight=False)
        raise typer.Exit(2) from None
    report = write_report(trial.folder, pictures=pictures, detailed=detailed)
    for words in (facts["client"]["verdict"], facts["tokens"].get("verdict", "")):
        alarm(words, console)
    show(report, console)
    console.print(f"{trial.folder / 'report.html'}", highlight=False)
    return report, facts["client"]["verdict"]


app.command("agree")(agree)
