"""Which nodes the head holds for alive.

Asked in a process of its own, as Ray keeps the first cluster's token for the life of a process. The GCS answers from
any namespace; no raylet is needed for that.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import EngineFailed

_START_S = 30.0
_POLL_S = 0.1


def alive_nodes(address: str, environment: Mapping[str, str], *, limit_s: float = 10.0) -> list[str]:
    """The addresses of the nodes that live. Raises `EngineFailed` when the head does not answer within `limit_s`."""
    return wait_for_nodes(address, [], environment, limit_s=limit_s)


def wait_for_nodes(address: str, wanted: Sequence[str], environment: Mapping[str, str], *, limit_s: float) -> list[str]:
    """Wait until all these addresses are alive; returns all that are. Raises `EngineFailed` after `limit_s`."""
    command = [sys.executable, "-m", "cluster.nodes.membership", address, str(limit_s), *wanted]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=limit_s + _START_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineFailed(f"The head at {address} does not answer.") from None
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise EngineFailed(f"Not all nodes are alive after {limit_s:.0f} s: {words[-1] if words else 'no answer'}")
    found: list[str] = json.loads(done.stdout)
    return found


def _main(address: str, limit_s: float, wanted: set[str]) -> None:
    # Compiled and generated modules, without types. An ordinary connection would need a raylet at our own address.
    raylet: Any = importlib.import_module("ray._raylet")
    states: Any = importlib.import_module("ray.core.generated.gcs_pb2").GcsNodeInfo
    client = raylet.GcsClient(address=address)
    deadline = time.monotonic() + limit_s
    while True:
        alive: set[str] = set()
        try:
            nodes = client.get_all_node_info(timeout=2.0).values()
            alive = {node.node_manager_address for node in nodes if node.state == states.ALIVE}
            if wanted <= alive:
                print(json.dumps(sorted(alive)))
                return
            missing = ", ".join(sorted(wanted - alive))
        except Exception as error:
            missing = f"the head does not answer ({type(error).__name__})"
        if time.monotonic() > deadline:
            sys.exit(missing)
        time.sleep(_POLL_S)


if __name__ == "__main__":
    _main(sys.argv[1], float(sys.argv[2]), set(sys.argv[3:]))
