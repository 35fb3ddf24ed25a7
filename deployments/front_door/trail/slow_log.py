"""One line in the log for each request that was slow or failed, with where its time went."""

from __future__ import annotations

import logging

from deployments.front_door.trail.phases import phases
from deployments.front_door.trail.record import Record
from deployments.front_door.trail.ring import OVER_LIMIT, Ring
from deployments.front_door.trail.view import line
from deployments.front_door.trail.words import seconds
from deployments.logs import FIELDS

log = logging.getLogger("stageline.slow")


def log_slow(ring: Ring, record: Record) -> None:
    """Writes the line where the request was slow or failed. Costs nothing where it was neither. Of requests over a
    caller's limits or share there is none: a metric counts them."""
    slow = ring.slow(record)
    if record.status == OVER_LIMIT or not (slow or record.failed):
        return
    told = line(record, slow)
    where = ", ".join(f"{one.name} {seconds(one.seconds)}" for one in phases(record) if one.seconds >= 0.001)
    name = f"{record.model}:{told['variant']}" if told["variant"] else record.model or record.path or record.method
    what = f"missed {' and '.join(record.missed)}" if record.missed else told["outcome"]
    message = f"{name} took {seconds(record.took_s)} ({what}, HTTP {record.status}): {where}"
    if record.error:
        message += f"; {record.error}"
    log.warning("%s", message, extra={"request_id": record.id, FIELDS: {"request": told}})
