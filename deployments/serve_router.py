"""How Serve chooses replicas: as ever, but none of those that nothing is heard of.

Serve itself hears of a node that is cut off, or of a process that hangs, up to a minute later (`presence.py`).

Serve sends this module by value to whoever calls a deployment: what is shared with the rest of the process must lie in
another one, and be reached through it.
"""

from __future__ import annotations

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import PendingRequest, RunningReplica

from deployments import choosable


class AroundSilent(PowerOfTwoChoicesRequestRouter):
    """Two at random, and the one of them with fewer requests."""

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        choosable.list_changed(self._deployment_id.name, self.names)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        chosen: list[list[RunningReplica]] = await super().choose_replicas(candidate_replicas, pending_request)
        if not choosable.SHUNNED:
            return chosen
        return choosable.around(chosen, candidate_replicas, choosable.SHUNNED, name_of)

    def names(self) -> list[str]:
        """Of the replicas that requests may be sent to."""
        return [replica_id.unique_id for replica_id in list(self.curr_replicas)]


def name_of(replica: RunningReplica) -> str:
    """As replicas name themselves in what they tell of their load."""
    return str(replica.replica_id.unique_id)
