"""A replica's stages in `/status` and at `/metrics`. A replica that is one process has none, and nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from cluster.pipeline.state import StageState, bubble

SHARES = ("busy", "waiting", "sending")
STAGE_LABELS = ("replica", "stage")


def stage_status(stages: Sequence[StageState]) -> dict[str, object]:
    """What is added to the replica's line in `/status`; `bubble` is null while there is no work."""
    if not stages:
        return {}
    lost = bubble(stages)
    return {
        "stages": [shown(stage) for stage in stages],
        "bubble": None if lost is None else round(lost, 4),
    }


def shown(stage: StageState) -> dict[str, object]:
    """One stage."""
    fields = asdict(stage)
    shares = fields.pop("shares")
    return {**fields, "load_s": round(stage.load_s, 2), **{name: round(shares[name], 4) for name in SHARES}}


def stage_families(
    stages: Sequence[StageState],
    replica: str,
    label_names: Sequence[str],
    labels: Sequence[str],
) -> list[GaugeMetricFamily | CounterMetricFamily]:
    """The same as metrics. Stages of different replicas are series of their own: shares of several cannot be added up.
    `label_names` and `labels` are the replica's own."""
    if not stages:
        return []
    names = (*label_names, *STAGE_LABELS)
    busy = GaugeMetricFamily("stageline:stage_busy_ratio", "Share of time in which the stage computed.", labels=names)
    waiting = GaugeMetricFamily(
        "stageline:stage_waiting_ratio", "Share of time in which the stage waited for work.", labels=names
    )
    memory = GaugeMetricFamily("stageline:stage_memory_bytes", "Memory of the stage's process.", labels=names)
    restarts = CounterMetricFamily("stageline:stage_restarts", "Times that the stage was replaced.", labels=names)
    for stage in stages:
        values = (*labels, replica, str(stage.index))
        busy.add_metric(values, stage.shares.busy)
        waiting.add_metric(values, stage.shares.waiting)
        memory.add_metric(values, stage.memory_bytes)
        restarts.add_metric(values, stage.restarts)
    families: list[GaugeMetricFamily | CounterMetricFamily] = [busy, waiting, memory, restarts]
    lost = bubble(stages)
    if lost is not None:
        ratio = GaugeMetricFamily(
            "stageline:pipeline_bubble_ratio",
            "Share of the stages' time that was lost while work was in flight.",
            labels=(*label_names, STAGE_LABELS[0]),
        )
        ratio.add_metric((*labels, replica), lost)
        families.append(ratio)
    return families
