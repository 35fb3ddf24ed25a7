"""Servers that speak OpenAI's API, run on the same GGUF file and with as many threads, or found at a URL."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cluster.node import free_ports
from deployments.benchmark.asking import BASELINE, OPTIMIZED
from deployments.benchmark.servers import HOST, running
from deployments.benchmark.works import with_model
from engine.errors import ConfigError, EngineFailed
from loadtest.scenario import Scenario

_ASK_S = 10.0


@dataclass(frozen=True, slots=True)
class Peer:
    """`command` has {model}, {port}, {host} and {threads}; with `url` it runs already. `title` is what it is in words.

    It is ready when it lists its models. `at_once` is how many requests it answers at a time, None: all that come.
    `exact` is how it is told to go on to the last token that was asked for, where it does not know `ignore_eos`; `body`
    are more keys of its requests, so that it computes what the others do.
    """

    name: str
    command: tuple[str, ...] = ()
    url: str = ""
    at_once: int | None = None
    title: str = ""
    version: str = ""
    exact: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """What is kept of it. A program is named without its folder."""
        command = shlex.join([Path(self.command[0]).name, *self.command[1:]]) if self.command else ""
        return {
            "title": self.title or self.name,
            "version": self.version,
            "command": command,
            "url": self.url,
            "body": dict(self.body),
        }


@dataclass(frozen=True, slots=True)
class Ready:
    """A peer that answers. `change` makes its scenario of ours: its name for the model, its keys."""

    url: str
    change: Callable[[Scenario], Scenario] = field(repr=False)


def known_peers(python: Path) -> tuple[Peer, ...]:
    """Those that an environment has, run by its Python. Raises ConfigError where it has none."""
    folder = python.parent
    found = []
    if _has(folder.parent, "llama_cpp"):
        options = "--host {host} --port {port} --n_threads {threads} --n_threads_batch {threads} --n_ctx 2048"
        command = (
            str(python),
            *shlex.split(f"-m llama_cpp.server --model {{model}} {options} --interrupt_requests false"),
        )
        found.append(
            Peer(
                "llama-cpp-python",
                command,
                at_once=1,
                title="llama-cpp-python's server, one request at a time",
                version=_version(folder.parent, "llama_cpp_python"),
                exact="min_tokens",
                body={"repeat_penalty": 1.0},  # 1.1 without: no longer the likeliest token
            )
        )
    if (folder / "vllm").exists():
        command = (str(folder / "vllm"), *shlex.split("serve {model} --host {host} --port {port}"))
        found.append(Peer("vLLM", command, version=_version(folder.parent, "vllm")))
    if not found:
        raise ConfigError(
            f"{python}: its environment has neither llama-cpp-python[server] nor vLLM. Install one, or name a server "
            "with --peer NAME=URL or --peer-command 'NAME=COMMAND'.",
            param="peers",
        )
    return tuple(found)


def _has(environment: Path, package: str) -> bool:
    return any(environment.glob(f"lib/python3*/site-packages/{package}"))


def _version(environment: Path, package: str) -> str:
    """As the environment's own installer noted it; empty where it did not."""
    found = environment.glob(f"lib/python3*/site-packages/{package}-*.dist-info")
    return next((path.name.removesuffix(".dist-info").rpartition("-")[2] for path in found), "")


def refuse_names(peers: Sequence[Peer]) -> None:
    """Raises ConfigError where two have one name, or one that would be no file's or another server's."""
    seen = {BASELINE, OPTIMIZED}
    for peer in peers:
        if peer.name in seen:
            raise ConfigError(f"Two servers are called {peer.name}: give this peer another name.", param="peer")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", peer.name):
            raise ConfigError(f"A peer's name has letters, digits and . _ - alone, unlike {peer.name!r}.", param="peer")
        seen.add(peer.name)


def named_peer(given: str) -> Peer:
    """From NAME=URL. Raises ConfigError."""
    name, url = _split(given, "--peer", "URL")
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--peer {given}: {url} is no URL.", param="peer")
    return Peer(name, url=url.rstrip("/").removesuffix("/v1"))


def commanded_peer(given: str) -> Peer:
    """From NAME=COMMAND, in which {model}, {host}, {port} and {threads} are put. Raises ConfigError."""
    name, command = _split(given, "--peer-command", "COMMAND")
    if "{port}" not in command:
        raise ConfigError(f"--peer-command {given}: put {{port}} where the port goes.", param="peer-command")
    return Peer(name, tuple(shlex.split(command)))


def _split(given: str, option: str, what: str) -> tuple[str, str]:
    name, equals, rest = given.partition("=")
    if not (name.strip() and equals and rest.strip()):
        raise ConfigError(f"{option} {given}: write it as NAME={what}.", param=option.removeprefix("--"))
    return name.strip(), rest.strip()


def filled(command: tuple[str, ...], values: Mapping[str, Any]) -> list[str]:
    """Each part with the values in place of their names in braces; other braces stay."""
    parts = list(command)
    for name, value in values.items():
        parts = [part.replace(f"{{{name}}}", str(value)) for part in parts]
    return parts


@contextmanager
def started(peer: Peer, model: Path, threads: int) -> Iterator[Ready]:
    """The peer, ready, and ended on leaving where it was started here. Raises EngineFailed."""
    if peer.url:
        yield Ready(peer.url, _change(peer, peer.url))
        return
    (port,) = free_ports(1)
    url = f"http://{HOST}:{port}"
    command = filled(peer.command, {"model": model, "host": HOST, "port": port, "threads": threads})
    with running(peer.name, command, f"{url}/v1/models"):
        yield Ready(url, _change(peer, url))


def _change(peer: Peer, url: str) -> Callable[[Scenario], Scenario]:
    try:
        name = str(httpx.get(f"{url}/v1/models", timeout=_ASK_S).raise_for_status().json()["data"][0]["id"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        raise EngineFailed(f"{peer.name} does not list its models at {url}/v1/models: {error}.") from None

    def change(scenario: Scenario) -> Scenario:
        scenario = with_model(scenario, name)
        (asked,) = scenario.requests
        exact = {peer.exact: asked.output_tokens} if peer.exact else {}
        asked = asked.model_copy(update={"body": {**peer.body, **exact, **asked.body}})
        return scenario.model_copy(update={"requests": (asked,)})

    return change
