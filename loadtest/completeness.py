"""Whether all that was planned was sent and recorded: a pure function of how the run ended, and of its records."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.plan import End
from loadtest.record import Record


def shortfalls(end: End, records: Sequence[Record] | None) -> list[str]:
    """In words; nothing where the run is whole. `records` is None where none were kept."""
    found = list(dict.fromkeys(one.broken for one in end.done if one.broken))
    if end.stopped_s is not None:
        found.append(f"The run was broken off after {end.stopped_s:.1f} s.")
    if lost := end.workers - len(end.done):
        found.append(f"{lost} of the client's {end.workers} processes did not come to their end.")
    if records is None:
        return found
    recorded = len({one.number for one in records})
    if end.planned is not None and recorded < end.planned:
        found.append(f"{end.planned - recorded} of {end.planned} planned requests were not sent.")
    sent = sum(one.sent for one in end.done)
    if end.planned is None and recorded < sent:
        found.append(f"{sent - recorded} of {sent} requests that were sent have no record.")
    return found
