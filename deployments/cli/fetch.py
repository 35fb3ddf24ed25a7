"""`stageline fetch`: have the models here before anything starts, or before the network goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from deployments import sources
from deployments.settings import DEMO_CONFIG, Settings, load_settings

ConfigArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[CONFIG]", help="Configuration file; the demo's if left out.", show_default=False),
]


def fetch(
    config: ConfigArgument = None,
    verify: Annotated[
        bool, typer.Option(help="Hash what is there already instead of trusting its size and time.")
    ] = False,
) -> None:
    """Download the models of a configuration, and check them."""
    console = Console(stderr=True)
    for name, path in fetch_models(load_settings(config or DEMO_CONFIG), console, verify=verify).items():
        typer.echo(f"{name}\t{path}")


def fetch_models(settings: Settings, console: Console, *, verify: bool = False) -> dict[str, Path]:
    """Path of every model, by name, with a progress bar for what has to be downloaded. Raises `SourceError`."""
    with _progress_bar(console) as progress:
        return {
            model.name: sources.fetch_with_changes(
                model.source, sha256=model.sha256, changes=model.changes, progress=progress, verify=verify
            )
            for model in settings.models
        }


@contextmanager
def _progress_bar(console: Console) -> Iterator[sources.Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=console)
    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int | None) -> None:
        bar.start()  # only now, so that nothing is shown where nothing is fetched
        if what not in tasks:
            tasks[what] = bar.add_task(f"Fetching {what}", total=total)
        bar.update(tasks[what], completed=done, total=total)

    try:
        yield show
    finally:
        if tasks:
            bar.stop()
