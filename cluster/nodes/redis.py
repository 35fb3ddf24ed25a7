"""A Redis server for the GCS, in a namespace of its own, so that it outlives the head's machine."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.nodes.namespaces import Network
from engine.errors import ConfigError, EngineFailed

_PORT = 6380
_START_S = 10.0


def redis_unavailable() -> str | None:
    """Why there is no Redis here; None where there is."""
    return None if shutil.which("redis-server") else "redis-server not found (apt-get install redis-server)"


@contextmanager
def running_redis(network: Network) -> Iterator[dict[str, str]]:
    """Start Redis at the place "store"; yields the variables with which a head keeps its state there.

    Raises `ConfigError` where it is not installed.
    """
    reason = redis_unavailable()
    if reason is not None:
        raise ConfigError(f"The cluster's state cannot be kept in Redis: {reason}.")
    place = network.add("store")
    password = secrets.token_hex(16)
    config = network.folder / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(
        f"bind {place.address}\nport {_PORT}\nrequirepass {password}\nsave ''\nappendonly no\ndir {network.folder}\n"
        f"logfile {network.folder / 'redis.log'}\n"
    )
    process = subprocess.Popen(place.command("redis-server", str(config)), start_new_session=True)
    try:
        _wait_until_it_listens(place.address, process)
        yield {
            "RAY_REDIS_ADDRESS": f"{place.address}:{_PORT}",
            "RAY_REDIS_PASSWORD": password,
            "RAY_external_storage_namespace": network.name,
        }
    finally:
        process.kill()
        process.wait(_START_S)


def _wait_until_it_listens(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection((address, _PORT), timeout=1.0).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise EngineFailed(f"Redis could not be started: {error}.") from error
            time.sleep(0.05)
