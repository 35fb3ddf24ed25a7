"""The name of this process among those that Serve runs."""

from __future__ import annotations

import uuid

from ray import serve
from ray.serve.exceptions import RayServeException


def own_name() -> str:
    """The name by which Serve knows the replica that runs in this process; one of its own without Serve."""
    try:
        return str(serve.get_replica_context().replica_id.unique_id)
    except RayServeException:
        return uuid.uuid4().hex
