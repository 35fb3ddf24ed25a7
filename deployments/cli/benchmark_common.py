"""What `stageline benchmark` and its parts have in common: what must be installed, where results go, how it ends."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from engine.errors import ConfigError, EngineFailed

if TYPE_CHECKING:
    from deployments.benchmark.kept import Kept

NEEDS = ("accelerate", "locust", "matplotlib", "sacrebleu", "transformers")
HERE = Path(__file__).parents[1] / "benchmark"

Output = Annotated[Path | None, typer.Option(help="Folder of the results; a new one in loadtest/results.")]
Key = Annotated[
    str, typer.Option(envvar="STAGELINE_API_KEY", help="Sent as a Bearer token to servers that run already.")
]


def require(packages: tuple[str, ...] = NEEDS) -> None:
    """Before anything starts. Raises ConfigError."""
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"The benchmark needs {', '.join(missing)}, which the server does not. Install with: "
            "pip install 'stageline[bench]'"
        )


def kept(
    output: Path | None, name: str, config: Path, *, standard: bool, urls: Mapping[str, str] | None = None
) -> Kept:
    """The folder for a result, made now, with where it comes from. Raises ConfigError."""
    from deployments.benchmark.kept import Kept
    from deployments.benchmark.origin import origin
    from loadtest.run import results_folder

    command = shlex.join(["stageline", *without_key(sys.argv[1:])])
    return Kept(output or results_folder(name), origin(command, config, standard=standard, urls=urls))


def without_key(arguments: Sequence[str]) -> list[str]:
    """A command line to be kept: without the key to a server."""
    found = ["--api-key=..." if one.startswith("--api-key=") else one for one in arguments]
    return ["..." if before == "--api-key" else one for before, one in zip(["", *found], found, strict=False)]


@contextmanager
def told(console: Console) -> Iterator[None]:
    """The harness knows nothing of our errors; and whoever stops a benchmark ends what it started."""
    from deployments.cli.signals import Stopped, stopping
    from loadtest.errors import LoadTestError

    with stopping():
        try:
            yield
        except LoadTestError as error:
            raise EngineFailed(str(error)) from error
        except Stopped as stopped:
            console.print("Stopped. What was measured is kept.")
            raise typer.Exit(stopped.exit_status) from None
