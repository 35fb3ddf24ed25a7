from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.nodes.namespaces import (
    Network,
    Place,
    in_turn,
    network,
    processes_in,
    removable,
    remove_leftovers,
    unavailable,
)
from engine.errors import ConfigError, EngineFailed

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "")

LIMIT_S = 10.0

ECHO = """
import socket
server = socket.create_server(("0.0.0.0", 7000))
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(connection.recv(100))
    connection.close()
"""

# Prints what comes of it, so that the caller knows silence from a refusal.
ASK = """
import socket, sys
try:
    connection = socket.create_connection((sys.argv[1], 7000), timeout=float(sys.argv[2]))
    connection.sendall(b"hello")
    print(connection.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    """Three places, at each of them a server that says what it is told."""
    with network() as made:
        for name in ("a", "b", "c"):
            place = made.add(name)
            command = place.command(sys.executable, "-c", ECHO)
            process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        yield made


def ask(source: Place | None, target: Place, limit_s: float = LIMIT_S) -> str:
    """What the target's server answers to somebody at `source` (None: the root namespace)."""
    argv = [sys.executable, "-c", ASK, target.address, str(limit_s)]
    command = argv if source is None else source.command(*argv)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_places_reach_each_other_and_the_root_reaches_them(net: Network) -> None:
    a, b = net.places["a"], net.places["b"]
    assert (ask(a, b), ask(b, a), ask(None, a)) == ("hello", "hello", "hello")
    assert len({a.address, b.address, net.address}) == 3


def test_a_cut_cable_is_silent_and_heals(net: Network) -> None:
    a, b = net.places["a"], net.places["b"]
    with socket.create_connection((a.address, 7000), timeout=LIMIT_S) as open_before:
        net.cut("a")
        assert (net.is_cut("a"), net.cable_state("a")) == (True, "cut")
        # No refusal and no reset: an answer of that kind would come at once.
        assert [ask(b, a, 0.5), ask(a, b, 0.5), ask(None, a, 0.5)] == ["TimeoutError"] * 3
        assert ask(b, net.places["c"]) == "hello"
        open_before.settimeout(0.3)
        open_before.sendall(b"late")
        with pytest.raises(TimeoutError):
            open_before.recv(100)
        net.restore("a")
        open_before.settimeout(LIMIT_S)
        assert open_before.recv(100) == b"late", "what was under way arrives when the cable is back"
    assert (ask(b, a), ask(None, a), net.cable_state("a")) == ("hello", "hello", "whole")


def test_two_nodes_lose_each_other_only(net: Network) -> None:
    a, b, c = (net.places[name] for name in "abc")
    net.cut("a", "b")
    assert [ask(a, b, 0.5), ask(b, a, 0.5)] == ["TimeoutError"] * 2
    assert [ask(a, c), ask(c, b), ask(None, a), ask(None, b)] == ["hello"] * 4
    assert (net.cable_state("a"), net.cable_state("b"), net.is_cut("a")) == ("cut from b", "cut from a", False)
    net.restore("b", "a")
    assert [ask(a, b), ask(b, a)] == ["hello", "hello"]


def test_what_others_call_by_such_names_is_theirs() -> None:
    found = ["sl0", "sl12345", "slip", "slab1", "sl12ab", "sl00ff-head", "sl00ff-node-1", "SL1234", "sl-a", "sl12ag"]
    locks = [f"{name.partition('-')[0]}.lock" for name in found]
    assert removable(found, [*locks, "slffff.lock"]) == ["sl00ff", "sl12ab"]
    assert removable(found, ["sl12ab.lock", "all"]) == ["sl12ab"]
    assert removable(found, []) == []


def test_all_steps_are_taken_whichever_fail() -> None:
    taken: list[str] = []

    def fail(words: str) -> None:
        taken.append(words)
        raise EngineFailed(words)

    with pytest.raises(EngineFailed, match=r"^first\. third\.$"):
        in_turn([lambda: fail("first."), lambda: taken.append("second"), lambda: fail("third.")])
    assert taken == ["first.", "second", "third."]


def test_a_slow_cable_takes_its_time_and_carries_the_same(net: Network) -> None:
    a = net.places["a"]

    def seconds() -> float:
        began = time.monotonic()
        with socket.create_connection((a.address, 7000), timeout=LIMIT_S):
            return time.monotonic() - began

    net.slow("a", delay_ms=200)
    assert net.cable_state("a") == "+200 ms"
    assert seconds() >= 0.2, "a handshake is one round trip"
    assert ask(net.places["b"], a) == "hello"
    net.slow("a", delay_ms=0)
    assert net.cable_state("a") == "whole"
    assert ask(net.places["b"], a) == "hello"


def test_names_and_unknown_nodes() -> None:
    with network() as one, network() as other:
        assert one.name != other.name
        assert not one.subnet.overlaps(other.subnet)
        one.add("x")
        for use in (lambda: one.cut("y"), lambda: one.cut("x", "y"), lambda: one.add("x")):
            with pytest.raises(ConfigError, match=r"no node y|node x already"):
                use()


def test_nothing_is_left_at_the_end_even_after_an_error() -> None:
    def fail() -> None:
        with network() as made:
            names.append(made.name)
            folders.append(made.folder)
            place = made.add("a")
            command = place.command(sys.executable, "-c", "import time; time.sleep(60)")
            found.append(subprocess.Popen(command, start_new_session=True))
            made.slow("a", delay_ms=10)
            assert psutil.Process(found[0].pid) in place.processes()
            raise EngineFailed("on purpose")

    names: list[str] = []
    folders: list[Path] = []
    found: list[subprocess.Popen[bytes]] = []
    with pytest.raises(EngineFailed, match="on purpose"):
        fail()
    assert_gone(names[0])
    assert found[0].wait(LIMIT_S) == -9
    assert not folders[0].exists()


def test_what_a_killed_owner_left_is_removed_and_nothing_else(net: Network) -> None:
    program = (
        "import subprocess, sys, time\n"
        "from cluster.nodes.namespaces import network\n"
        "with network() as made:\n"
        "    place = made.add('a')\n"
        "    subprocess.Popen(place.command('sleep', '60'), stdout=subprocess.DEVNULL, start_new_session=True)\n"
        "    print(made.name, flush=True)\n"
        "    time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    name = owner.stdout.readline().strip()
    assert name not in remove_leftovers()
    deadline = time.monotonic() + LIMIT_S
    while not processes_in(f"{name}-a"):  # it enters the namespace after it has started
        assert time.monotonic() < deadline
        time.sleep(0.05)
    owner.kill()
    owner.wait(LIMIT_S)
    remove_leftovers()
    assert_gone(name)
    assert ask(net.places["a"], net.places["b"]) == "hello"


def test_it_says_why_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert "ip and nsenter not found" in str(unavailable())
    with pytest.raises(ConfigError, match="ip and nsenter not found"), network():
        pass
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unavailable() == "network namespaces need root"


def assert_gone(name: str) -> None:
    assert not [path.name for path in Path("/run/netns").iterdir() if path.name.startswith(name)]
    assert not [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(name)]
    assert processes_in(f"{name}-a") == set()
    assert not Path("/run/stageline", f"{name}.lock").exists()
