"""The command line: `stageline serve`, `status`, `why`, `top`, `profile`, `stacks`, `stop`, `chat`, `fetch`,
`evaluate`, `quantize`, `bench`, `benchmark`, `finetune`, `cluster`, `k8s`, `keys`, `load`, `attack`.

Each command imports what it needs when it runs, so that `stageline --help` does not wait for torch and Ray.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from deployments.cli.attack import attack
from deployments.cli.bench import bench
from deployments.cli.benchmark import benchmark
from deployments.cli.benchmark_parts import faults, nodes, overhead, scaling
from deployments.cli.chat import chat
from deployments.cli.cluster import cluster
from deployments.cli.control import status, stop
from deployments.cli.evaluate import evaluate
from deployments.cli.fetch import fetch
from deployments.cli.finetune import finetune
from deployments.cli.k8s import k8s
from deployments.cli.keys import keys
from deployments.cli.profile import profile, stacks
from deployments.cli.quantize import quantize
from deployments.cli.serve import serve
from deployments.cli.top import top
from deployments.cli.why import why
from engine.errors import ConfigError, StagelineError
from loadtest.cli import app as load

app = typer.Typer(
    help="Serve Transformers on a Ray cluster behind HTTP: text generation, classification, embeddings, translation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serve, status, why, top, profile, stacks, stop, chat, fetch, evaluate, quantize, attack):
    app.command()(command)
app.add_typer(bench, name="bench")
for part in (nodes, scaling, faults, overhead):
    benchmark.command()(part)
app.add_typer(benchmark, name="benchmark")
app.add_typer(finetune, name="finetune")
app.add_typer(cluster, name="cluster")
app.add_typer(k8s, name="k8s")
app.add_typer(keys, name="keys")
app.add_typer(load, name="load")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stageline {metadata.version('stageline')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options of all commands."""


def main() -> None:
    """Entry point. Errors raised on purpose end with their message alone; exit status 2 for the configuration's."""
    try:
        app()
    except StagelineError as error:
        message = "\n".join([error.message, *getattr(error, "__notes__", [])])
        Console(stderr=True, soft_wrap=True).print(f"[bold red]stageline:[/] {escape(message)}", highlight=False)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
