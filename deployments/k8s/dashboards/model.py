"""One model: its variants, who takes the requests and why, what callers wait for, and what its engines do."""

from __future__ import annotations

from deployments.k8s.dashboards.panels import (
    MODEL_NAME,
    NAMESPACE,
    OF_MODEL,
    Dashboard,
    Panel,
    Query,
    Row,
    line,
    quantiles,
    stat,
    total,
)

VARIANT = ("model_name", "engine")
NAMED = "{{model_name}}:{{engine}}"

MODEL = Dashboard(
    "stageline-model",
    "Stageline: model",
    "Variants, routing, latencies and engines of a model.",
    (NAMESPACE, MODEL_NAME),
    (
        Row(
            "Variants",
            (
                Panel(
                    "State",
                    (
                        Query(
                            f"max by (model_name, engine, state) (stageline:variant_state{{{OF_MODEL}}}) == 1",
                        ),
                    ),
                    description="asleep: the first request brings a replica. unavailable: its replicas are gone and "
                    "are being replaced.",
                    kind="table",
                ),
                Panel(
                    "Replicas",
                    (Query(f"max by (model_name, engine) (stageline:variant_replicas{{{OF_MODEL}}})", NAMED),),
                    stacked=True,
                ),
                Panel(
                    "Preferred",
                    (Query(f"max by (model_name, engine) (stageline:variant_preferred{{{OF_MODEL}}})", NAMED),),
                    description="1 for the variant that takes all requests.",
                    most=1,
                ),
                line(
                    "Requests/s by variant",
                    total("stageline:variant_decisions_total", OF_MODEL, VARIANT),
                    NAMED,
                    unit="reqps",
                ),
                line(
                    "Why it was chosen",
                    total("stageline:variant_decisions_total", OF_MODEL, ("reason",)),
                    "{{reason}}",
                    unit="reqps",
                    description="objective: it is predicted to meet it. least_bad: no variant is, or none with as much "
                    "to spare as it has to have at present. stale: loads too old to go by. pinned, fast: the caller's "
                    "wish. waking: it is being started.",
                ),
                line(
                    "Steps between variants",
                    "sum by (model_name, from, to, reason) "
                    f"(increase(stageline:variant_steps_total{{{OF_MODEL}}}[5m]))",
                    "{{model_name}} {{from}} to {{to}}: {{reason}}",
                    description="In five minutes.",
                ),
            ),
        ),
        Row(
            "What callers wait for",
            (
                Panel(
                    "First token",
                    quantiles("vllm:time_to_first_token_seconds", OF_MODEL, VARIANT, NAMED),
                    "s",
                ),
                Panel(
                    "Each further token",
                    quantiles("vllm:request_time_per_output_token_seconds", OF_MODEL, VARIANT, NAMED),
                    "s",
                    "Mean of a request.",
                ),
                Panel(
                    "Between tokens",
                    quantiles("vllm:inter_token_latency_seconds", OF_MODEL, VARIANT, NAMED),
                    "s",
                ),
                Panel(
                    "Whole answer",
                    quantiles("vllm:e2e_request_latency_seconds", OF_MODEL, VARIANT, NAMED),
                    "s",
                    "The first bucket ends at 0.3 s: below it, this is no more than a guess.",
                ),
            ),
        ),
        Row(
            "Where the time goes",
            (
                Panel(
                    "Queue",
                    quantiles("vllm:request_queue_time_seconds", OF_MODEL, VARIANT, NAMED),
                    "s",
                    "Until the first step. The first bucket ends at 0.3 s.",
                ),
                line(
                    "Mean time in each part",
                    " or ".join(
                        f"label_replace(sum by (model_name) (rate(vllm:request_{part}_time_seconds_sum{{{OF_MODEL}}}"
                        f"[$__rate_interval])) / sum by (model_name) (rate(vllm:request_{part}_time_seconds_count"
                        f'{{{OF_MODEL}}}[$__rate_interval])), "part", "{part}", "", "")'
                        for part in ("queue", "prefill", "decode")
                    ),
                    "{{model_name}} {{part}}",
                    unit="s",
                ),
                line(
                    "Answers that miss their objective",
                    'model:stageline_objective_missed:ratio_rate5m{namespace=~"$namespace",model_name=~"$model"}',
                    "{{model_name}} {{part}}",
                    unit="percentunit",
                ),
            ),
        ),
        Row(
            "Engines",
            (
                Panel(
                    "Running and waiting",
                    (
                        Query(
                            f"sum by (model_name, engine) (vllm:num_requests_running{{{OF_MODEL}}})", f"{NAMED} running"
                        ),
                        Query(
                            f"sum by (model_name, engine) (vllm:num_requests_waiting{{{OF_MODEL}}})", f"{NAMED} waiting"
                        ),
                    ),
                ),
                Panel(
                    "Busy",
                    (
                        Query(
                            f"clamp_max(sum by (model_name, engine) (rate(stageline:engine_busy_seconds{{{OF_MODEL}}}"
                            "[$__rate_interval])) / on (model_name, engine) "
                            f"max by (model_name, engine) (stageline:variant_replicas{{{OF_MODEL}}} > 0), 1)",
                            NAMED,
                        ),
                    ),
                    "percentunit",
                    "Share of the time in which a replica computes. All replicas' are added up at the server, so that "
                    "there is a spike where one ends.",
                    most=1,
                ),
                Panel(
                    "KV cache",
                    (Query(f"max by (model_name, engine) (vllm:kv_cache_usage_perc{{{OF_MODEL}}})", NAMED),),
                    "percentunit",
                    "Share in use, of the fullest replica.",
                    most=1,
                ),
                line(
                    "Prefix cache",
                    f"{total('vllm:prefix_cache_hits_total', OF_MODEL, VARIANT)}"
                    f" / {total('vllm:prefix_cache_queries_total', OF_MODEL, VARIANT)}",
                    NAMED,
                    unit="percentunit",
                    description="Share of prompt tokens that were not computed again.",
                ),
                line(
                    "Preemptions/s",
                    total("vllm:num_preemptions_total", OF_MODEL, VARIANT),
                    NAMED,
                    description="Requests that lost their cache to others and are computed again.",
                ),
                line(
                    "Tokens of a step",
                    f"{total('vllm:iteration_tokens_total_sum', OF_MODEL, VARIANT)}"
                    f" / {total('vllm:iteration_tokens_total_count', OF_MODEL, VARIANT)}",
                    NAMED,
                    description="Mean: how well requests are batched.",
                ),
                line(
                    "How full steps are",
                    f"{total('vllm:iteration_tokens_total_sum', OF_MODEL, VARIANT)}"
                    f" / {total('stageline:step_room_tokens_total', OF_MODEL, VARIANT)}",
                    NAMED,
                    unit="percentunit",
                    description="Tokens of the steps, as a share of what max_batch_tokens allows them.",
                ),
                line(
                    "Answers like the best variant's",
                    f"{total('stageline:drift_agreed_total', OF_MODEL, VARIANT)}"
                    f" / {total('stageline:drift_compared_total', OF_MODEL, VARIANT)}",
                    NAMED,
                    unit="percentunit",
                    description="Of live answers that were compared in the background: tokens, labels or sentences in "
                    "which both agree.",
                ),
            ),
        ),
        Row(
            "Requests",
            (
                stat("Tokens/s generated", f"sum(rate(vllm:generation_tokens_total{{{OF_MODEL}}}[$__rate_interval]))"),
                stat(
                    "Prompt, mean tokens",
                    f"sum(rate(vllm:request_prompt_tokens_sum{{{OF_MODEL}}}[$__rate_interval]))"
                    f" / sum(rate(vllm:request_prompt_tokens_count{{{OF_MODEL}}}[$__rate_interval]))",
                ),
                stat(
                    "Answer, mean tokens",
                    f"sum(rate(vllm:request_generation_tokens_sum{{{OF_MODEL}}}[$__rate_interval]))"
                    f" / sum(rate(vllm:request_generation_tokens_count{{{OF_MODEL}}}[$__rate_interval]))",
                ),
                stat(
                    "Open", f"sum(stageline:variant_open_requests{{{OF_MODEL}}})", description="Sent and not answered."
                ),
            ),
        ),
    ),
)
