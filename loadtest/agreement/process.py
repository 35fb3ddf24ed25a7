"""A client as a process: with a limit, and with its last words where it fails."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from loadtest.errors import LoadTestError


def run_client(command: Sequence[str], folder: Path, timeout_s: float, environment: Mapping[str, str]) -> None:
    """Runs it in `folder`, where `client.log` has what it says. Raises LoadTestError where it fails.

    One that is stopped, for its time or for an exception here, leaves no process. One that ends by itself sees to that.
    """
    name = Path(command[0]).name
    with (folder / "client.log").open("wb") as log:
        try:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=folder, env=dict(environment), start_new_session=True
            )
        except OSError as error:
            raise LoadTestError(f"{command[0]} cannot be started: {error.strerror}.") from None
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise LoadTestError(f"{name} did not end within {timeout_s:.0f} s. It said: {last_words(folder)}") from None
        finally:
            if process.poll() is None:
                _kill(process.pid)
                process.wait()
    if status != 0:
        raise LoadTestError(f"{name} ended with status {status}. It said: {last_words(folder)}")


def _kill(pid: int) -> None:
    """Also those that it has put into sessions of their own."""
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for one in [first, *first.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()


def last_words(folder: Path) -> str:
    """The end of `client.log`."""
    text = (folder / "client.log").read_text(encoding="utf-8", errors="replace").strip()
    return "\n".join(text.splitlines()[-15:]) or "nothing"
