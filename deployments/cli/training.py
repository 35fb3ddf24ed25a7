"""Running a training for the command line: node, progress, result."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.node import RayNode, joined_cluster, local_node, node_temp_dir
from deployments.cli.signals import Stopped, StopSignals, stopping
from engine.errors import ConfigError

if TYPE_CHECKING:
    from cluster.training.recipe import RunFolder
    from cluster.training.worker import Job

_NEEDED = ("transformers", "pandas", "pyarrow", "matplotlib", "sacrebleu", "sentencepiece")


def require_training_packages() -> None:
    """Raise `ConfigError` naming what `stageline[train]` would bring."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"Training needs {', '.join(missing)}, which the plain installation leaves out. "
            "Install it with: pip install 'stageline[train]'"
        )


def begun_with() -> str:
    """This command as it was typed, for the model card; paths that lead out of the working folder by their names."""
    words = ["stageline"]
    for word in sys.argv[1:]:
        path = Path(word)
        words.append(path.name if path.is_absolute() else word)
    return shlex.join(words)


def run_training(job: Job, *, workers: int, address: str | None, verbose: bool) -> dict[str, Any]:
    """Check, train, and tell the result. The summary, as in `training.json`. Ends what it started on any way out."""
    console = Console(stderr=True)
    from cluster.training import launch

    job.task.check()
    job.run.path.mkdir(parents=True, exist_ok=True)
    with stopping() as signals:
        try:
            with ExitStack() as stack:
                stack.enter_context(_alone_in(job.run))
                with console.status("Starting Ray ..."):
                    node = stack.enter_context(_node(address, signals, verbose=verbose))
                with _progress(console, job.run) as watch:
                    launch.run_on(node, job, workers=workers, watch=watch)
        except Stopped as stopped:
            console.print("Stopped. The same command goes on from the last checkpoint.")
            raise typer.Exit(stopped.exit_status) from None
    summary = launch.finished(job.run)
    figures = ", ".join(f"{name} {value}" for name, value in summary["quality"].items()) or "no test data"
    console.print(f"[bold green]Done[/]: {job.run.model}  ({figures})", highlight=False, soft_wrap=True)
    return summary


@contextmanager
def _alone_in(run: RunFolder) -> Iterator[None]:
    """Raise `ConfigError` while another process trains into the same folder."""
    lock = FileLock(run.path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"Another training is writing into {run.path}. Wait for it, or choose another folder with --out.",
            param="out",
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _node(address: str | None, signals: StopSignals, *, verbose: bool) -> Iterator[RayNode]:
    from cluster.training.launch import environment

    if address is not None:
        with signals.undisguised(), joined_cluster(address, environment(), verbose=verbose) as node:
            signals.listen()
            yield node
        return
    with (
        node_temp_dir() as folder,
        signals.undisguised(),
        local_node(environment(), folder, verbose=verbose) as node,
    ):
        signals.listen()
        yield node


@contextmanager
def _progress(console: Console, run: RunFolder) -> Iterator[Any]:
    """A bar that follows the metrics file, which the first worker writes."""
    from cluster.training.metrics import MetricsReader

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    reader = MetricsReader(run.metrics)
    with Progress(*columns, console=console, speed_estimate_period=300) as bar:
        task = bar.add_task("Preparing", total=None, told="")

        def watch() -> None:
            for line in reader.new_lines():
                if "total_steps" in line:
                    bar.update(task, total=line["total_steps"])
                if "loss" in line:
                    told = f"loss {line['loss']:.4f}  {line['per_second']:.0f} {line.get('unit', '')}/s"
                    bar.update(task, completed=line["step"], description=f"Epoch {line['epoch'] + 1}", told=told)
                valid = {name: value for name, value in line.items() if name.startswith("valid_")}
                if valid:
                    figures = "  ".join(f"{name} {value:.4f}" for name, value in valid.items())
                    bar.console.print(f"Epoch {line['epoch'] + 1}: {figures}", highlight=False)

        yield watch
        watch()
