"""A Ray node of our own, or a cluster that is already there. Ends what it started, and only that."""

from __future__ import annotations

import logging
import math
import os
import random
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.errors import ConfigError, EngineFailed

log = logging.getLogger(__name__)

# Tokens do not travel through Ray's object store, so that little of it is enough.
_OBJECT_STORE_BYTES = 256 << 20
_CONNECT_S = 5.0
_PORTS = range(20_000, 30_000)  # Ray's workers have those below, Serve's replicas the next, Linux those from 32768 on
_TEMP_PREFIX, _TEMP_INNER = "stageline-", "ray"
_CORE_PROCESSES = ("raylet", "gcs_server")


@dataclass(frozen=True, slots=True)
class RayNode:
    """A connection to Ray. `address` is the GCS; `cores` are those of all `nodes`; `core` are the processes that a node
    of our own cannot do without."""

    address: str
    cores: int
    temp_dir: Path | None = None
    core: tuple[psutil.Process, ...] = ()
    nodes: int = 1

    def check(self) -> None:
        """Raise `EngineFailed` when the node that was started here has ended by itself."""
        for process in self.core:
            if has_ended(process):
                raise EngineFailed("Ray ended unexpectedly.")


@contextmanager
def local_node(environment: Mapping[str, str], temp_dir: Path, *, verbose: bool = False) -> Iterator[RayNode]:
    """Start a node for this process: free ports, `temp_dir` for sockets and logs, no dashboard.

    `environment` is set for it and everything in it; variables that the user has set win. It must be set before
    `ray` is imported. On leaving, the node's processes are ended, however far the start got.
    """
    with ExitStack() as stack:
        stack.enter_context(_environment(environment))
        stack.enter_context(_ending_ray())
        import ray

        _keep_token_private()
        cores = available_cores()
        try:
            ray.init(
                address="local",
                num_cpus=cores,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=verbose,
                logging_level=logging.INFO if verbose else logging.ERROR,
                _temp_dir=str(temp_dir),
            )
        except (RuntimeError, ConnectionError, OSError, ValueError) as error:
            raise EngineFailed(f"Ray could not be started: {error}.") from error
        core = tuple(child for child in psutil.Process().children() if child.name() in _CORE_PROCESSES)
        yield RayNode(ray.get_runtime_context().gcs_address, cores, temp_dir, core)


@contextmanager
def joined_cluster(address: str, environment: Mapping[str, str], *, verbose: bool = False) -> Iterator[RayNode]:
    """Connect to a running cluster ("auto": the one on this machine). On leaving, it goes on without us.

    `environment` holds for the workers that this connection starts. Raises `ConfigError` when nothing answers.
    """
    _require_listener(address)
    with ExitStack() as stack:
        stack.enter_context(_environment(dict(environment) | _authentication()))
        stack.callback(_shutdown)
        import ray

        try:
            ray.init(
                address=address,
                log_to_driver=verbose,
                logging_level=logging.INFO if verbose else logging.ERROR,
                runtime_env={"env_vars": dict(environment)},
            )
        except (RuntimeError, ConnectionError, ValueError) as error:
            raise ConfigError(
                f"No Ray cluster can be joined at {address}: {error} If it asks for a token, set RAY_AUTH_MODE=token "
                "and RAY_AUTH_TOKEN_PATH.",
                param="address",
            ) from error
        cores = int(ray.cluster_resources().get("CPU", 0))
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        yield RayNode(ray.get_runtime_context().gcs_address, cores, nodes=nodes)


@contextmanager
def node_temp_dir() -> Iterator[Path]:
    """A folder for one node, deleted at the end unless there was an error to look into.

    It is close to the root, because the paths of Unix sockets below it may have some 100 characters only. Ray opens its
    folder to every user of the machine, and HAProxy's socket in it takes orders from whoever reaches it: so it lies in
    one that only this user may enter.
    """
    short = Path("/tmp")
    private = Path(tempfile.mkdtemp(prefix=_TEMP_PREFIX, dir=short if os.access(short, os.W_OK) else None))
    folder = private / _TEMP_INNER
    folder.mkdir()
    failed = False
    try:
        yield folder
    except Exception as error:
        failed = True
        error.add_note(f"The logs of Ray and of the replicas are in {folder}.")
        raise
    finally:
        if not failed:
            shutil.rmtree(private, ignore_errors=True)


def remove_temp_dir(folder: Path) -> None:
    """Deletes what `node_temp_dir` gave to a process that is gone; nothing else."""
    if folder.name == _TEMP_INNER and folder.parent.name.startswith(_TEMP_PREFIX):
        shutil.rmtree(folder.parent, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody listens on, all different.

    They are neither those that Ray and Serve take nor those that Linux hands out by itself, so that no connection which
    is made before somebody listens has one of them by chance. Raises `EngineFailed` where there are not so many.
    """
    ports: list[int] = []
    with ExitStack() as stack:
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            probe = stack.enter_context(socket.socket())
            try:
                probe.bind(("", port))
            except OSError:
                continue  # somebody's
            ports.append(port)
            if len(ports) == count:
                return ports
    raise EngineFailed(f"There are not {count} free ports from {_PORTS[0]} to {_PORTS[-1]}.")


def available_cores() -> int:
    """CPU cores that this process may use: its affinity, and a container's limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2 here: no limit of that kind
    return max(1, cores)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _ending_ray() -> Iterator[None]:
    """On leaving, shut Ray down and end every process started below this one meanwhile that did not end with it.

    They are listed before, when the whole tree still hangs together.
    """
    before = set(psutil.Process().children(recursive=True))
    try:
        yield
    finally:
        started = set(psutil.Process().children(recursive=True)) - before
        try:
            _shutdown()
        finally:
            end_processes(started)


def _require_listener(address: str) -> None:
    """Raise `ConfigError` at once where Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", or a form that Ray itself judges
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"No Ray cluster answers at {address}: {error}.", param="address") from None


def _authentication() -> dict[str, str]:
    """As Ray's own commands do: a token that lies ready is used."""
    if "RAY_AUTH_MODE" in os.environ or not _token_path().exists():
        return {}
    return {"RAY_AUTH_MODE": "token"}


def _keep_token_private() -> None:
    """Ray makes a token for its nodes where there is none, readable for every user of the machine; whoever knows it may
    run code in the node. So the file is made here, and closed to others where Ray has made it before."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token" or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(
        os.environ
    ):
        return  # it is turned off, or somebody else's to keep
    path = _token_path()
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)  # readable by this user only
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32))
            os.link(name, path)  # whole, and never in place of one that is there
        finally:
            Path(name).unlink()
    except FileExistsError:
        if path.stat().st_uid == os.getuid():
            path.chmod(0o600)
    except OSError as error:
        log.debug("Ray's token is left to Ray: %s", error)


def _token_path() -> Path:
    return Path.home() / ".ray" / "auth_token"


def _shutdown() -> None:
    ray = sys.modules.get("ray")
    if ray is not None and hasattr(ray, "shutdown"):  # interrupted in the middle of its import, it has none yet
        ray.shutdown()


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is over, be it that its parent has not noticed yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end_processes(processes: set[psutil.Process], *, grace_s: float = 3.0) -> None:
    """Ask, wait, kill. A process that ended meanwhile, or whose id belongs to another by now, is left alone."""
    alive = [process for process in processes if process.is_running()]
    for process in alive:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, stubborn = psutil.wait_procs(alive, timeout=grace_s)
    for process in stubborn:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(stubborn, timeout=grace_s)
