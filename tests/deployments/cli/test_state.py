from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from deployments.cli.state import (
    ServerState,
    StateFile,
    clear_leftovers,
    find_server,
    registered,
    run_dir,
    running_servers,
)
from engine.errors import ConfigError


def test_a_server_is_listed_while_it_runs() -> None:
    with registered("http://127.0.0.1:8000", 8000, "demo.yaml") as file:
        [server] = running_servers()
        assert (server.pid, server.port, server.state) == (os.getpid(), 8000, "starting")
        file.update(state="ready", ray_address="1.2.3.4:5")
        assert find_server(None).state == "ready"
        assert find_server(8000).ray_address == "1.2.3.4:5"
    assert running_servers() == []


def test_a_killed_server_is_forgotten() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    state = ServerState(process.pid, psutil.Process(process.pid).create_time(), "http://x", 1, "c")
    StateFile(state).update()
    assert len(running_servers()) == 1
    process.kill()
    process.wait()
    assert running_servers() == []
    assert not list(run_dir().iterdir())


def test_what_a_killed_server_left_is_ended_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    created = psutil.Process(dead.pid).create_time()
    dead.kill()
    dead.wait()
    folders = [tmp_path / "stageline-killed" / "ray", tmp_path / "stageline-running" / "ray"]
    programs = []
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "proxy.py").write_text("import time\ntime.sleep(60)\n")
        programs.append(subprocess.Popen([sys.executable, str(folder / "proxy.py")]))
    StateFile(ServerState(dead.pid, created, "http://x", 1, "c", temp_dir=str(folders[0]))).update()
    try:
        with registered("http://y", 2, "c") as file:
            file.update(temp_dir=str(folders[1]))
            clear_leftovers()
        assert [program.poll() is None for program in programs] == [False, True]
        assert [folder.parent.exists() for folder in folders] == [False, True]
    finally:
        for program in programs:
            program.kill()
            program.wait()


def test_a_process_that_got_the_same_id_is_not_taken_for_the_server() -> None:
    with registered("http://x", 1, "c") as file:
        assert file.state.process() is not None
        assert replace(file.state, created=file.state.created - 100).process() is None


def test_a_damaged_file_is_forgotten() -> None:
    run_dir().mkdir(parents=True, exist_ok=True)
    (run_dir() / "server-1.json").write_text("{")
    (run_dir() / "server-2.json").write_text('{"unknown": 1}')
    assert running_servers() == []


def test_which_server_is_meant_must_be_clear() -> None:
    with pytest.raises(ConfigError, match="No server runs here"):
        find_server(None)
    with registered("http://x:1", 1, "c") as file:
        with pytest.raises(ConfigError, match=r"No server runs at port 9\. There are servers at: 1"):
            find_server(9)
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        try:
            created = psutil.Process(process.pid).create_time()
            StateFile(replace(file.state, pid=process.pid, created=created, port=2)).update()
            with pytest.raises(ConfigError, match="choose one with --port, of 1, 2"):
                find_server(None)
            assert find_server(2).pid == process.pid
        finally:
            process.kill()
            process.wait()
