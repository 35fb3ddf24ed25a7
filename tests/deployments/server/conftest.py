"""The server that the tests of this folder share. A test that ends it says so, and the next one gets a new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.deployments.otlp_receiver import Receiver, receiving
from tests.deployments.server.running import Server, start


class SharedServer:
    def __init__(self, models: dict[str, Path], folders: pytest.TempPathFactory, receiver: Receiver) -> None:
        self._models, self._folders = models, folders
        self.receiver = receiver  # of traces: of requests that ask for one
        self._server: Server | None = None

    def get(self) -> Server:
        if self._server is None:
            self._server = start(self._models, self._folders.mktemp("server"), self.receiver.url)
        return self._server

    def end(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.stop()


@pytest.fixture(scope="session")
def shared_server(demo_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServer]:
    with receiving() as receiver:
        shared = SharedServer(demo_models, tmp_path_factory, receiver)
        yield shared
        shared.end()


@pytest.fixture
def server(shared_server: SharedServer) -> Server:
    return shared_server.get()


@pytest.fixture
def last_use_of_server(shared_server: SharedServer) -> Iterator[Server]:
    """For a test after which the server is good for nothing."""
    yield shared_server.get()
    shared_server.end()


@pytest.fixture
def api(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, timeout=120) as api:
        yield api
