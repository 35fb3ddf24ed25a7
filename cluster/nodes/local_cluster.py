"""Head and workers on one machine, each in a namespace of its own, to lose and get back on purpose."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from cluster.nodes.membership import wait_for_nodes
from cluster.nodes.namespaces import Network, network
from cluster.nodes.ray_node import GCS_PORT, HealthChecks, LocalNode
from cluster.nodes.redis import running_redis
from cluster.nodes.supervisor import Supervisor
from engine.errors import ConfigError

HEAD = "head"
_OBJECT_STORE_BYTES = 96 << 20  # Ray wants 75 MiB at least; tokens and activations do not travel through it
_ALIVE_S = 60.0


class LocalCluster:
    """Nodes by name: `head`, `node-1`, `node-2`, ... Methods may be called from any thread.

    `environment` is what a process needs to be one of the cluster's drivers, which it must be inside a node's
    namespace: see `run` and `cluster.nodes.entering`.
    """

    def __init__(self, made: Network, nodes: Mapping[str, LocalNode], environment: Mapping[str, str]) -> None:
        self.network, self.nodes, self.environment = made, nodes, environment
        self.head = nodes[HEAD]
        self.address = f"{self.head.ip}:{GCS_PORT}"
        self._locks = {name: threading.RLock() for name in nodes}

    @property
    def folder(self) -> Path:
        """Logs, sockets and the token; deleted with the cluster."""
        return self.network.folder

    def node(self, name: str) -> LocalNode:
        """Raises `ConfigError` for a name that is not there."""
        if name not in self.nodes:
            raise ConfigError(f"There is no node {name}. There are: {', '.join(self.nodes)}.", param="name")
        return self.nodes[name]

    def start_node(self, name: str) -> None:
        """Start a node that ended, was killed or stopped; nothing where it runs. Returns when the head knows it.

        Where only the head's GCS is gone and Redis has its state, only that is started.
        """
        node = self.node(name)
        with self._locks[name]:
            self._start(node)
            self.wait_alive([name])

    def kill_node(self, name: str) -> None:
        """Kill everything in its namespace at once, as if the machine lost its power."""
        node = self.node(name)
        with self._locks[name]:
            node.kill()

    def stop_node(self, name: str) -> None:
        """Take a node away on purpose: its raylet is asked to end and tells the head so; then the rest is ended."""
        node = self.node(name)
        with self._locks[name]:
            node.stop()

    def kill_gcs(self) -> None:
        """Kill the head's GCS alone, which knows nodes, actors and placement groups; its raylet goes on."""
        with self._locks[HEAD]:
            self.head.kill_gcs()

    def restart_gcs(self) -> None:
        """Start the GCS again. With Redis it knows what it knew; without, it would refuse all that ran before, so that
        the head starts anew.
        """
        self.start_node(HEAD)

    def cut(self, name: str, other: str | None = None) -> None:
        """Pull a node's cable, or lose all that two nodes send each other (`Network.cut`)."""
        self.network.cut(name, other)

    def restore(self, name: str, other: str | None = None) -> None:
        """Undo `cut` and `slow`.

        A node that the head had given up ends itself then; `start_node`, or a supervisor, starts it again.
        """
        self.network.restore(name, other)

    def slow(self, name: str, *, delay_ms: float, jitter_ms: float = 0.0) -> None:
        """Make every round trip to and from a node so much longer (`Network.slow`)."""
        self.network.slow(name, delay_ms=delay_ms, jitter_ms=jitter_ms)

    def revive(self, name: str) -> bool:
        """Start a node which ended by itself, if its cable is in. Returns whether it was started.

        A head without its GCS goes on for a minute. That is let pass, unless there is a state to start a GCS from.
        """
        node = self.node(name)
        with self._locks[name]:
            if not node.wanted or node.runs() or self.network.is_cut(name):
                return False
            if not node.keeps_state and node.core("raylet") is not None:
                return False
            self._start(node)
            return True

    def _start(self, node: LocalNode) -> None:
        if node.runs():
            return
        if node.keeps_state and node.core("raylet") is not None:
            node.start_gcs()
        else:
            node.start(self.address)

    def wait_alive(self, names: Sequence[str] | None = None, *, limit_s: float = _ALIVE_S) -> None:
        """Wait until the head holds these nodes (all of them, unless told) for alive. Raises `EngineFailed`."""
        wanted = [self.node(name).ip for name in (self.nodes if names is None else names)]
        wait_for_nodes(self.address, wanted, self.environment, limit_s=limit_s)

    def run(self, name: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program inside a node's namespace with the cluster's environment, in a session of its own.

        `options` are those of `Popen`; `env` is added to the environment.
        """
        environment = {**os.environ, **self.environment, **options.pop("env", {})}
        command = self.node(name).command(*argv)
        return subprocess.Popen(command, env=environment, start_new_session=True, **options)

    def processes(self) -> set[psutil.Process]:
        """All that run in the cluster's namespaces."""
        return {process for place in self.network.places.values() for process in place.processes()}


@contextmanager
def local_cluster(
    nodes: int = 3,
    *,
    cpus: int | Sequence[int] = 1,
    environment: Callable[[Path], Mapping[str, str]] = lambda folder: {},
    resources: Mapping[str, Mapping[str, float]] | None = None,
    cores: Mapping[str, Sequence[int]] | None = None,
    object_store: int = _OBJECT_STORE_BYTES,
    health: HealthChecks | None = None,
    redis: bool = False,
    supervise: bool = False,
) -> Iterator[LocalCluster]:
    """A head and `nodes - 1` workers. All of it is gone at the end, whatever happened to it.

    `cpus` for each node (or one number a node) are what Ray may hand out, however many the machine has. `environment`
    makes a node's variables from its temporary folder. `resources` are custom ones by the node's name; each node has
    one of its own name. `cores` are those of the machine that a node's processes keep to, by the node's name; one that
    has none there may use all. With `redis` the GCS keeps what it knows there and survives its death. With `supervise`
    nodes that end by themselves are started again once their cable is in, as an init system would do.

    Raises `ConfigError` where there are no namespaces (`cluster.nodes.namespaces.unavailable`) or no Redis.
    """
    counts = [cpus] * nodes if isinstance(cpus, int) else list(cpus)
    if nodes < 1 or len(counts) != nodes:
        raise ConfigError(f"{nodes} nodes with {len(counts)} numbers of CPUs: give one for each.", param="cpus")
    with ExitStack() as stack:
        made = stack.enter_context(network())
        shared = _access(made.folder) | {"RAY_worker_niceness": "0"}
        head_only = (health or HealthChecks()).environment()
        if redis:
            head_only |= stack.enter_context(running_redis(made))
        machines = {}
        for number, count in enumerate(counts):
            name = f"node-{number}" if number else HEAD
            folder = made.folder / str(number)
            variables = {**environment(folder), **shared, **({} if number else head_only)}
            machines[name] = LocalNode(
                made.add(name),
                is_head=not number,
                cpus=count,
                object_store=object_store,
                folder=folder,
                environment=variables,
                resources=(resources or {}).get(name, {}),
                cores=tuple((cores or {}).get(name, ())),
            )
        running = LocalCluster(made, machines, shared)
        running.head.start(running.address)
        with ThreadPoolExecutor(max(1, nodes - 1)) as pool:
            list(pool.map(lambda node: node.start(running.address), list(machines.values())[1:]))
        running.wait_alive()
        if supervise:
            stack.enter_context(Supervisor(running.revive, list(machines)))
        yield running


def _access(folder: Path) -> dict[str, str]:
    """A token of the cluster's own, which every process that joins must know: its ports are open to all users here."""
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32), encoding="ascii")
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
