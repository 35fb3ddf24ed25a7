"""A replica that dies, and a replica that is told to end, with requests at every stage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest

from tests.deployments.server.running import ROOMY, TIGHT, Server
from tests.deployments.server.sockets import BackgroundStream
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.model]

# In a process of its own: whether Ray needs a token is settled when it is imported.
DELETE = """
import sys
from cluster.node import joined_cluster
from deployments.serving import APP_NAME
with joined_cluster(sys.argv[1], {}):
    from ray import serve
    serve.delete(APP_NAME)
"""


def test_a_killed_replica(server: Server) -> None:
    body = {"model": TIGHT, "temperature": 0, "max_tokens": 300, "ignore_eos": True}
    running = [BackgroundStream(server, prompt="Once", **body) for _ in range(2)]
    assert all(stream.begun.wait(60) for stream in running)
    waiting = BackgroundStream(server, prompt="Twice", **body)
    wait_until(lambda: server.load(TIGHT) == (2, 1), "two run and one waits")
    killed = server.replica(TIGHT)["pid"]
    os.kill(killed, signal.SIGKILL)
    assert server.complete(model=ROOMY, max_tokens=1).status_code == 200
    for stream in (*running, waiting):
        events = stream.events()
        assert events[-1]["choices"][0]["finish_reason"] == "length", events[-1]
    texts = ["".join(event["choices"][0]["text"] for event in stream.events()) for stream in running]
    assert texts[0] == texts[1] == server.complete(**body, prompt="Once").json()["choices"][0]["text"]
    assert server.replica(TIGHT)["pid"] != killed


def test_a_killed_front_door_frees_the_engine_and_comes_back(server: Server) -> None:
    stream = BackgroundStream(server, model=ROOMY, prompt="Once", max_tokens=8000, ignore_eos=True)
    assert stream.begun.wait(60)
    server.front_door().kill()
    wait_until(lambda: stream.over, "the stream is cut")  # all that is left, with one process in front

    def answered() -> bool:
        try:
            return server.complete(max_tokens=1).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answered, "a new front door answers")
    server.wait_idle(ROOMY)


def test_ended_replicas_finish_their_streams(last_use_of_server: Server) -> None:
    """The last of this folder, for it removes the application."""
    server = last_use_of_server
    streams = [
        BackgroundStream(server, model=ROOMY, prompt="Once", max_tokens=200, ignore_eos=True),
        BackgroundStream(server, model=TIGHT, prompt="Once", max_tokens=100, ignore_eos=True),
    ]
    assert all(stream.begun.wait(60) for stream in streams)
    subprocess.run([sys.executable, "-c", DELETE, server.state.ray_address], check=True, timeout=120)
    for stream in streams:
        events = stream.events()
        assert events[-1]["choices"][0]["finish_reason"] == "length", events[-1]
        assert sum(len(event["choices"][0]["text"]) > 0 for event in events) > 50
    wait_until(lambda: httpx.get(f"{server.url}/health").status_code == 404, "the application is gone")
