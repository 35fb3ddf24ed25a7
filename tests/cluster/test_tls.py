from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.tls import client_context, plainly, server_context, uses_tls
from engine.errors import ConfigError
from tests.cluster.certificates import Authority, Certificate


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    return authority.sign("node")


@pytest.mark.parametrize(("value", "on"), [(None, False), ("0", False), ("1", True), ("true", True), ("True", True)])
def test_as_ray_reads_it(monkeypatch: pytest.MonkeyPatch, value: str | None, on: bool) -> None:
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    if value is not None:
        monkeypatch.setenv("RAY_USE_TLS", value)
    assert uses_tls() == on
    if not on:
        assert (server_context(), client_context()) == (None, None)


@pytest.mark.parametrize("name", ["RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"])
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, ours: Certificate, tmp_path: Path, name: str
) -> None:
    ours.use(monkeypatch)
    monkeypatch.setenv(name, str(tmp_path / "nothing"))
    for make in (server_context, client_context):
        with pytest.raises(ConfigError, match=f"{name} .*nothing.* cannot be used"):
            make()
        (tmp_path / "nothing").write_text("nothing of the kind")
    monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=f"RAY_USE_TLS is set and {name} is not"):
        server_context()


def failures(server: ssl.SSLContext | None, client: ssl.SSLContext | None) -> tuple[str, str]:
    """What the listening and the connecting end are told when both say a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(20)

        def listen() -> str:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                return talk(connection, server, server_side=True)

        listening = pool.submit(listen)
        with socket.create_connection(listener.getsockname(), timeout=20) as connection:
            told = talk(connection, client, server_side=False)
        return listening.result(30), told


def talk(connection: socket.socket, context: ssl.SSLContext | None, *, server_side: bool) -> str:
    try:
        if context is not None:
            name = None if server_side else "127.0.0.1"
            connection = context.wrap_socket(connection, server_side=server_side, server_hostname=name)
        with connection:
            connection.sendall(b"word" * 100)
            return "" if connection.recv(4) == b"word" else "cut"
    except OSError as error:
        return plainly(error)


def test_both_show_a_certificate(monkeypatch: pytest.MonkeyPatch, ours: Certificate, tmp_path: Path) -> None:
    ours.use(monkeypatch)
    server, client = server_context(), client_context()
    assert failures(server, client) == ("", "")
    stranger = Authority(tmp_path / "theirs").sign("stranger")
    stranger.use(monkeypatch)
    _, told = failures(server_context(), client)
    assert "its certificate does not hold here" in told
    assert "RAY_TLS_CA_CERT" in told
    monkeypatch.setenv("RAY_TLS_CA_CERT", str(ours.authority))  # it trusts ours, and ours does not trust it
    heard, told = failures(server, client_context())
    assert "its certificate does not hold here" in heard
    assert told  # how much of it comes before the connection ends, is chance
    nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nameless.load_verify_locations(ours.authority)
    heard, _ = failures(server, nameless)
    assert "one end refused the other's certificate" in heard


def test_a_certificate_of_another_address(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, ours: Certificate
) -> None:
    ours.use(monkeypatch)
    client = client_context()
    authority.sign("other", "IP:10.9.8.7").use(monkeypatch)
    _, told = failures(server_context(), client)
    assert "its certificate does not hold here" in told
    assert "for its own address" in told


def test_one_end_without_tls(monkeypatch: pytest.MonkeyPatch, ours: Certificate) -> None:
    ours.use(monkeypatch)
    heard, _ = failures(server_context(), None)
    assert "it speaks no TLS" in heard
    _, told = failures(None, client_context())
    assert "it speaks no TLS" in told
