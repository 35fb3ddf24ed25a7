"""`stageline attack`: does it withstand hostile files and hostile callers? The last line printed is JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deployments.cli.bench_tables import write
from deployments.cli.signals import Stopped, stopping
from engine.errors import ConfigError


def attack(
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this attack, as often as wanted.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Attack the server at this address; by default one is started for it.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="API key for that server.", envvar="STAGELINE_API_KEY")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show the attacks and end.")] = False,
    soak: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            help="Instead: mixed load for so many minutes, with callers who leave and replicas that are killed.",
        ),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the soak here, as png or svg.")] = None,
    output: Annotated[Path | None, typer.Option(help="Also write the result here.")] = None,
) -> None:
    """Attack a server of its own, on this machine, as hostile callers and hostile models would, and tell what honest
    callers noticed and what is left over. Ends with 1 when anything was lost, crashed, leaked or hung."""
    from deployments.attacks.registry import ATTACKS, chosen
    from deployments.attacks.run import make_attacks, table_of

    console = Console(stderr=True)
    if listed:
        for one in ATTACKS:
            typer.echo(f"{one.name}: {one.does} Expected: {one.expects}.")
        return
    if soak is not None:
        _soak(soak, picture, output, console)
        return
    try:
        attacks = chosen(only or [])
    except KeyError as error:
        known = ", ".join(one.name for one in ATTACKS)
        raise ConfigError(f"--only {error.args[0]}: there are {known}.", param="only") from None
    with stopping():
        try:
            result = make_attacks(attacks, console, url, key)
        except Stopped as stopped:
            raise typer.Exit(stopped.exit_status or 1) from None
    console.print(table_of(result))
    write(result, output)
    typer.echo(json.dumps(result))
    if result["failed"]:
        raise typer.Exit(1)


LONG = ("samples", "answered_at_s")  # of a soak's result: megabytes, which only a file has


def _soak(minutes: float, picture: Path | None, output: Path | None, console: Console) -> None:
    from deployments.attacks.soak import soak

    if picture is not None:
        from deployments.bench.pictures import require_matplotlib

        require_matplotlib()
    with stopping():
        try:
            result = soak(minutes, console)
        except Stopped as stopped:
            raise typer.Exit(stopped.exit_status or 1) from None
    if picture is not None:
        from deployments.attacks.soak_picture import draw

        draw(result, picture)
    write(result, output)
    for name in ("requests", "grew_mib", "answers_per_s"):
        console.print(f"{name}: {result[name]}", highlight=False)
    for fault in result["faults"]:
        console.print(fault, style="red", markup=False, highlight=False)
    typer.echo(json.dumps({name: value for name, value in result.items() if name not in LONG}))
    if result["faults"]:
        raise typer.Exit(1)
