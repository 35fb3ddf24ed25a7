"""How long a pipeline waits, and for what."""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.pipeline.link import LinkLimits


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds.

    `start_s`: until all stages are loaded at first. `heartbeat_s`: a stage that owes an answer for longer is frozen;
    `step_s`: so is one that is at a single batch for longer. `repair_s`: within which a pipeline is whole again or is
    given up; `unreachable_s`: the same where a stage's node cannot be reached, as nothing can be started there.
    """

    start_s: float = 180.0
    heartbeat_s: float = 2.0
    beat_every_s: float = 0.5
    step_s: float = 60.0
    repair_s: float = 10.0
    unreachable_s: float = 3.0
    link: LinkLimits = field(default_factory=LinkLimits)
