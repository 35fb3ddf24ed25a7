"""The service as its callers see it: requests, errors, latencies against the objectives, and what there is of it."""

from __future__ import annotations

from deployments.k8s.dashboards.panels import (
    NAMESPACE,
    OURS,
    RAY,
    Dashboard,
    Panel,
    Query,
    Row,
    line,
    quantile,
    stat,
    total,
)

APP = f'{RAY},application="stageline"'
REQUESTS = "ray_serve_num_http_requests_total"
MODEL = ("model_name",)

SERVICE = Dashboard(
    "stageline-service",
    "Stageline: service",
    "Requests, errors, latencies and objectives of all models.",
    (NAMESPACE,),
    (
        Row(
            "Now",
            (
                stat(
                    "Ready",
                    f"min(stageline:ready{{{OURS}}})",
                    description="1 where every model of the configuration can answer.",
                    red_below=1,
                ),
                stat("Requests/s", f"sum(rate({REQUESTS}{{{APP}}}[$__rate_interval]))", unit="reqps"),
                stat(
                    "5xx",
                    f'sum(rate({REQUESTS}{{{APP},status_code=~"5.."}}[$__rate_interval]))'
                    f" / sum(rate({REQUESTS}{{{APP}}}[$__rate_interval])) or vector(0)",
                    unit="percentunit",
                    description="Share of all requests, 503 of a full server included.",
                    thresholds=(0.01, 0.05),
                ),
                stat(
                    "Within objective",
                    '1 - max(model:stageline_objective_missed:ratio_rate5m{namespace=~"$namespace"})',
                    unit="percentunit",
                    description="Answers of the last five minutes, of the model and the part that fare worst.",
                    red_below=0.99,
                ),
                stat("Waiting", f"sum(vllm:num_requests_waiting{{{OURS}}})", description="Requests in queues."),
                stat("Replicas", f"sum(max by (model_name, engine) (stageline:variant_replicas{{{OURS}}}))"),
            ),
        ),
        Row(
            "Requests",
            (
                Panel(
                    "Requests/s by status",
                    (Query(total(REQUESTS, APP, ("status_code",)), "{{status_code}}"),),
                    "reqps",
                    "As the proxies count them.",
                    stacked=True,
                ),
                Panel(
                    "Answers/s by model",
                    (
                        Query(
                            total("vllm:request_success_total", OURS, MODEL, more='finished_reason=~"stop|length"'),
                            "{{model_name}}",
                        ),
                    ),
                    "reqps",
                    "Each of several answers and texts of a request counts.",
                    stacked=True,
                ),
                line(
                    "How answers ended",
                    total("vllm:request_success_total", OURS, ("finished_reason",)),
                    "{{finished_reason}}",
                    unit="reqps",
                    description="abort: the caller left. error: engines, replicas, deadlines, full replicas.",
                ),
            ),
        ),
        Row(
            "Objectives",
            (
                Panel(
                    "Answers that miss their objective",
                    (
                        Query(
                            'model:stageline_objective_missed:ratio_rate5m{namespace=~"$namespace"}',
                            "{{model_name}} {{part}}",
                        ),
                    ),
                    "percentunit",
                    "Share over five minutes, by what was missed. One in a hundred may.",
                ),
                Panel(
                    "First token, p99",
                    (
                        Query(quantile(0.99, "vllm:time_to_first_token_seconds", OURS, MODEL), "{{model_name}}"),
                        Query(
                            f'max by (model_name) (stageline:objective_seconds{{{OURS},part="ttft"}})',
                            "{{model_name}} promised",
                        ),
                    ),
                    "s",
                ),
                Panel(
                    "Each further token, p99",
                    (
                        Query(
                            quantile(0.99, "vllm:request_time_per_output_token_seconds", OURS, MODEL),
                            "{{model_name}}",
                        ),
                        Query(
                            f'max by (model_name) (stageline:objective_seconds{{{OURS},part="tpot"}})',
                            "{{model_name}} promised",
                        ),
                    ),
                    "s",
                ),
                Panel(
                    "Whole answer, p99",
                    (
                        Query(quantile(0.99, "vllm:e2e_request_latency_seconds", OURS, MODEL), "{{model_name}}"),
                        Query(
                            f'max by (model_name) (stageline:objective_seconds{{{OURS},part="latency"}})',
                            "{{model_name}} promised",
                        ),
                    ),
                    "s",
                    "The histogram's first bucket ends at 0.3 s: below it, this is no more than a guess.",
                ),
            ),
        ),
        Row(
            "Work",
            (
                Panel(
                    "Tokens/s generated",
                    (Query(total("vllm:generation_tokens_total", OURS, MODEL), "{{model_name}}"),),
                    "short",
                    stacked=True,
                ),
                Panel(
                    "Tokens/s read",
                    (Query(total("vllm:prompt_tokens_total", OURS, MODEL), "{{model_name}}"),),
                    "short",
                    stacked=True,
                ),
                line(
                    "Waiting",
                    f"sum by (model_name) (vllm:num_requests_waiting{{{OURS}}})",
                    "{{model_name}}",
                ),
                line(
                    "Refused or given up",
                    total("vllm:admission_rejections_total", OURS, ("model_name", "reason")),
                    "{{model_name}} {{reason}}",
                    unit="reqps",
                    description="overloaded: 503. fairness: 429. deadline: 408.",
                ),
            ),
        ),
        Row(
            "What there is",
            (
                Panel(
                    "Replicas by variant",
                    (
                        Query(
                            f"max by (model_name, engine) (stageline:variant_replicas{{{OURS}}})",
                            "{{model_name}}:{{engine}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Replicas wanted and there",
                    (
                        Query(
                            f"max by (deployment) (ray_serve_autoscaling_target_replicas{{{APP}}})",
                            "{{deployment}} wanted",
                        ),
                        Query(
                            f"sum by (deployment) (ray_serve_deployment_replica_healthy{{{APP}}})",
                            "{{deployment}} there",
                        ),
                    ),
                    description="Serve's own count, with the front doors.",
                ),
                line(
                    "Streams that went on elsewhere",
                    f"sum by (model_name, engine, cause) (increase(stageline:stream_resumptions_total{{{OURS}}}[5m]))",
                    "{{model_name}}:{{engine}} {{cause}}",
                    description="In five minutes. Each is a stream whose replica was lost.",
                ),
            ),
        ),
    ),
)
