from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from loadtest.agreement.process import run_client
from loadtest.errors import LoadTestError


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_it_runs_in_the_folder(tmp_path: Path) -> None:
    run_client(python("open('here', 'w').write('yes')"), tmp_path, 30, os.environ)
    assert (tmp_path / "here").read_text() == "yes"


def test_what_it_said_is_told_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match=r"status 3(.|\n)*no such model"):
        run_client(python("import sys; print('no such model'); sys.exit(3)"), tmp_path, 30, os.environ)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="nowhere cannot be started"):
        run_client([str(tmp_path / "nowhere")], tmp_path, 30, os.environ)


def test_when_the_time_is_over_nothing_of_it_is_left(tmp_path: Path) -> None:
    """Nor of what it has started in a session of its own, as our client does."""
    start = "subprocess.Popen(['sleep', '60'], start_new_session=True)"
    child = f"import subprocess, time; print({start}.pid, flush=True); time.sleep(60)"
    with pytest.raises(LoadTestError, match="did not end within 1 s"):
        run_client(python(child), tmp_path, 1.0, os.environ)
    pid = int((tmp_path / "client.log").read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
