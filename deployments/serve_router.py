"""Serve's own router, which also tells this process whom Serve lists: who is to have a channel (`channels/pool.py`).

Serve sends this module by value to whoever calls a deployment: what is shared with the rest of the process must lie in
another one, and be reached through it.
"""

from __future__ import annotations

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import RunningReplica

from deployments import choosable


class ListingRouter(PowerOfTwoChoicesRequestRouter):
    """Two at random, and the one of them with fewer requests."""

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        choosable.list_changed(self._deployment_id.name, self.names)

    def names(self) -> list[str]:
        """Of the replicas that requests may be sent to."""
        return [replica_id.unique_id for replica_id in list(self.curr_replicas)]
