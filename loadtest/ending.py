"""How a command ends: on errors with their words alone, on SIGTERM as on Ctrl-C, so that nothing of it is left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from loadtest.errors import LoadTestError


@contextmanager
def told() -> Iterator[None]:
    """Errors on purpose, and files that cannot be written, end with their words and status 2."""
    with _terminable():
        try:
            yield
        except (LoadTestError, OSError) as error:
            Console(stderr=True, soft_wrap=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
            raise typer.Exit(2) from None


@contextmanager
def _terminable() -> Iterator[None]:
    """Python's own SIGTERM ends a process without its `finally`, and leaves what it has started."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
