"""Models that are cut into stages: what each stage does, what is lost between them, and how often one was replaced."""

from __future__ import annotations

from deployments.k8s.dashboards.panels import MODEL_NAME, NAMESPACE, OF_MODEL, Dashboard, Panel, Query, Row, line, stat

STAGE = "{{model_name}}:{{engine}} {{replica}}, stage {{stage}}"
REPLICA = "{{model_name}}:{{engine}} {{replica}}"

PIPELINE = Dashboard(
    "stageline-pipeline",
    "Stageline: pipeline",
    "Stages of models that are cut into several.",
    (NAMESPACE, MODEL_NAME),
    (
        Row(
            "Now",
            (
                stat("Stages", f"count(stageline:stage_busy_ratio{{{OF_MODEL}}}) or vector(0)"),
                stat(
                    "Busiest stage",
                    f"max(stageline:stage_busy_ratio{{{OF_MODEL}}})",
                    unit="percentunit",
                    description="It decides how fast the whole is.",
                ),
                stat(
                    "Bubble",
                    f"max(stageline:pipeline_bubble_ratio{{{OF_MODEL}}})",
                    unit="percentunit",
                    description="Share of the stages' time that is lost while there is work, of the worst replica.",
                    thresholds=(0.4, 0.6),
                ),
                stat(
                    "Stages replaced in an hour",
                    f"sum(increase(stageline:stage_restarts_total{{{OF_MODEL}}}[1h]))",
                    thresholds=(1, 2),
                ),
            ),
        ),
        Row(
            "Balance",
            (
                Panel(
                    "Computing",
                    (Query(f"stageline:stage_busy_ratio{{{OF_MODEL}}}", STAGE),),
                    "percentunit",
                    "Share of the last seconds. Stages in balance lie together.",
                    most=1,
                ),
                Panel(
                    "Waiting for work",
                    (Query(f"stageline:stage_waiting_ratio{{{OF_MODEL}}}", STAGE),),
                    "percentunit",
                    most=1,
                ),
                Panel(
                    "Bubble",
                    (Query(f"stageline:pipeline_bubble_ratio{{{OF_MODEL}}}", REPLICA),),
                    "percentunit",
                    "Not there while there is no work.",
                    most=1,
                ),
                line(
                    "Between the busiest and the idlest",
                    "replica:stageline_stage_busy:max10m"
                    '{namespace=~"$namespace",model_name=~"$model"}'
                    " - replica:stageline_stage_busy:min10m"
                    '{namespace=~"$namespace",model_name=~"$model"}',
                    REPLICA,
                    unit="percentunit",
                    description="Over ten minutes. An alert fires where it is over 30% and the busiest over 60%.",
                ),
            ),
        ),
        Row(
            "Processes",
            (
                Panel(
                    "Memory",
                    (Query(f"stageline:stage_memory_bytes{{{OF_MODEL}}}", STAGE),),
                    "bytes",
                ),
                line(
                    "Replaced",
                    f"stageline:stage_restarts_total{{{OF_MODEL}}}",
                    STAGE,
                    description="Since the replica started.",
                ),
            ),
        ),
    ),
)
