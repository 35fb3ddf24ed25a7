"""What `/status` tells of a pipeline's stages."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.pipeline.clock import Beat


@dataclass(frozen=True, slots=True)
class Sample:
    """A stage's beat with when it came, and for how many seconds until then the pipeline had work under way."""

    at: float
    active_s: float
    beat: Beat


@dataclass(frozen=True, slots=True)
class Shares:
    """Of the time between two samples: computing, waiting for input, sending. The bubble is the share of the time with
    work under way in the pipeline in which this stage did not compute."""

    busy: float = 0.0
    waiting: float = 0.0
    sending: float = 0.0
    bubble: float = 0.0


@dataclass(frozen=True, slots=True)
class StageStatus:
    """`state`: "ready", "lost" or "starting". Bytes are those of its process, or as loaded."""

    index: int
    label: str
    state: str
    node: str
    pid: int
    rss_bytes: int
    peak_rss_bytes: int
    weight_bytes: int
    cache_bytes: int
    load_s: float
    batches: int
    restarts: int
    shares: Shares


def shares(first: Sample, last: Sample) -> Shares:
    """Between two samples of one process."""
    seconds = last.at - first.at
    if seconds <= 0:
        return Shares()
    busy_s = last.beat.busy_s - first.beat.busy_s
    active_s = last.active_s - first.active_s

    def share(part: float, whole: float) -> float:
        return min(1.0, max(0.0, part / whole))

    return Shares(
        share(busy_s, seconds),
        share(last.beat.waiting_s - first.beat.waiting_s, seconds),
        share(last.beat.sending_s - first.beat.sending_s, seconds),
        1.0 - share(busy_s, active_s) if active_s > 0 else 0.0,
    )
