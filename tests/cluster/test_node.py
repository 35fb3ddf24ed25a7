from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cluster.node import (
    RayNode,
    _keep_token_private,
    available_cores,
    end_processes,
    free_ports,
    joined_cluster,
    local_node,
    node_temp_dir,
    remove_temp_dir,
)
from engine.errors import ConfigError, EngineFailed


def sleeper(program: str = "import time; time.sleep(60)") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)


def test_free_ports_differ() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20


def test_free_ports_are_none_that_a_connection_gets_by_itself() -> None:
    begin = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < begin for port in free_ports(50))


def test_a_port_that_somebody_listens_on_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr("cluster.node._PORTS", range(port, port + 1))
    with socket.create_server(("127.0.0.1", port)), pytest.raises(EngineFailed, match="There are not 1 free ports"):
        free_ports(1)
    assert free_ports(1) == [port]


def test_cores_are_no_more_than_this_process_may_use() -> None:
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))


def test_the_temp_dir_goes_at_the_end_and_stays_after_an_error() -> None:
    with node_temp_dir() as folder:
        (folder / "log").write_text("x")
        folder.chmod(0o777)  # as Ray does
        assert folder.parent.stat().st_mode & 0o077 == 0, "nobody else may enter"
    assert not folder.parent.exists()
    with pytest.raises(EngineFailed) as caught, node_temp_dir() as folder:
        raise EngineFailed("no luck")
    assert (folder.exists(), str(folder) in caught.value.__notes__[0]) == (True, True)
    remove_temp_dir(folder)
    assert not folder.parent.exists()
    with pytest.raises(KeyboardInterrupt), node_temp_dir() as folder:
        raise KeyboardInterrupt
    assert not folder.parent.exists(), "somebody's wish to stop is no error"


@pytest.mark.parametrize("name", ["stageline-a/other", "mine/ray", "ray"])
def test_only_a_temp_dir_of_ours_is_removed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir(parents=True)
    remove_temp_dir(tmp_path / name)
    assert (tmp_path / name).exists()


def test_processes_are_ended_even_when_they_do_not_listen() -> None:
    deaf = sleeper("import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)")
    assert deaf.stdout is not None
    deaf.stdout.readline()
    polite = sleeper()
    processes = {psutil.Process(deaf.pid), psutil.Process(polite.pid)}
    end_processes(processes, grace_s=0.5)
    assert not any(process.is_running() for process in processes)


def test_a_node_whose_process_ended_is_noticed() -> None:
    process = sleeper()
    node = RayNode("address", 1, Path("/tmp"), (psutil.Process(process.pid),))
    node.check()
    process.kill()
    process.wait()
    with pytest.raises(EngineFailed, match="Ray ended"):
        node.check()


def test_a_cluster_that_does_not_answer_is_told_at_once() -> None:
    port = free_ports(1)[0]
    with pytest.raises(ConfigError, match="No Ray cluster answers"), joined_cluster(f"127.0.0.1:{port}", {}):
        pass


def test_nobody_else_can_read_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".ray" / "auth_token"
    with monkeypatch.context() as patched:
        patched.setenv("RAY_AUTH_MODE", "disabled")
        _keep_token_private()
        assert not path.exists()
        patched.setenv("RAY_AUTH_MODE", "token")
        patched.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "mine"))
        _keep_token_private()
        assert not path.exists()
    _keep_token_private()
    token = path.read_text()
    assert (len(token), stat.S_IMODE(path.stat().st_mode)) == (64, 0o600)
    path.chmod(0o644)  # as Ray makes it
    _keep_token_private()
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (token, 0o600)


@pytest.mark.ray
def test_a_node_leaves_nothing_behind_and_others_alone() -> None:
    """In a process of its own: what it starts is what hangs below it, and its variables are its own."""
    program = """
import os, psutil
from cluster.node import local_node, node_temp_dir
import subprocess, sys
mine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
with node_temp_dir() as folder, local_node({"STAGELINE_TEST": "here"}, folder) as node:
    import ray
    @ray.remote
    def look():
        return os.environ["STAGELINE_TEST"]
    assert ray.get(look.remote()) == "here"
    node.check()
    started = set(psutil.Process().children(recursive=True)) - {psutil.Process(mine.pid)}
    assert len(started) > 3
assert "STAGELINE_TEST" not in os.environ
assert not folder.exists()
left = [process for process in started if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
assert not left, left
assert mine.poll() is None
mine.kill()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_a_start_that_fails_undoes_what_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: object) -> None:
        assert os.environ["STAGELINE_TEST"] == "x"
        raise RuntimeError("no room")

    monkeypatch.setattr("ray.init", fail)
    with pytest.raises(EngineFailed, match="no room"), local_node({"STAGELINE_TEST": "x"}, tmp_path):
        pass
    assert "STAGELINE_TEST" not in os.environ
