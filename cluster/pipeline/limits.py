"""How long a pipeline waits, and for what."""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.pipeline.link import LinkLimits


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, and `repairs`: how many there may be without an answer in between, as a batch may be what kills a stage.

    `supply_s`: until what the stages are loaded from has come to their nodes. `start_s`: until all stages are loaded at
    first, after that. `heartbeat_s`: a stage that owes an answer for longer is frozen;
    `step_s`: so is one that is at a single batch for longer. `repair_s`: within which a pipeline is whole again or is
    given up; `unreachable_s`: the same where a stage's node cannot be reached (it is cut off, or dead), as nothing can
    be started there before Ray has given that node up: another replica has the answers sooner.
    """

    supply_s: float = 3600.0
    start_s: float = 180.0
    heartbeat_s: float = 2.0
    beat_every_s: float = 0.5
    step_s: float = 60.0
    repair_s: float = 10.0
    unreachable_s: float = 1.0
    repairs: int = 3
    link: LinkLimits = field(default_factory=LinkLimits)
