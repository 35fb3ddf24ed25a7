"""Whether the client was the bottleneck: a pure function of what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loadtest.record import Record

MOST_LAG_MS = 20.0  # p99 of the loop's: a first token would be shown so much late
MOST_LATE_MS = 20.0  # p99 of sending after the scheduled time
MOST_APART_MS = 20.0  # a worker's clock off the master's
MOST_CPU = 0.9  # of the one core that a process has


def client_facts(workers: Sequence[Mapping[str, float]], records: Sequence[Record]) -> dict[str, Any]:
    """The worst of the client's processes, how late requests were sent (p99), and the verdict: "" where all is well."""
    names = sorted({name for one in workers for name in one})
    facts: dict[str, Any] = {name: max(one.get(name, 0.0) for one in workers) for name in names}
    late = [1000 * (one.sent_s - one.scheduled_s) for one in records if one.sent_s is not None]
    facts["late_p99_ms"] = round(float(np.percentile(late, 99)), 3) if late else 0.0
    limited = [one for one in records if one.failure == "client"]
    complaints = [f"{len(limited)} requests could not be sent: {limited[0].message}."] if limited else []
    facts["verdict"] = " ".join([*complaints, *_complaints(facts)])
    return facts


def _complaints(facts: Mapping[str, float]) -> list[str]:
    found = []
    if (share := facts.get("cpu_share", 0.0)) > MOST_CPU:
        found.append(f"The client used {share:.0%} of a core: use more processes (--processes), or another machine.")
    if (lag := facts.get("lag_p99_ms", 0.0)) > MOST_LAG_MS:
        found.append(f"The client's loop was {lag:.0f} ms late (p99): latencies may show it and not the server.")
    if (late := facts["late_p99_ms"]) > MOST_LATE_MS:
        found.append(f"Requests were sent {late:.0f} ms late (p99): the load was not the one that was planned.")
    if (apart := facts.get("clock_apart_ms", 0.0)) > MOST_APART_MS:
        found.append(f"A worker's clock is {apart:.0f} ms off the master's: let both be set by NTP.")
    return found
