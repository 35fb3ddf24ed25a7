"""The pods as Ray sees them: cores, memory, disk, network; and the actors and replicas that run there."""

from __future__ import annotations

from deployments.k8s.dashboards.panels import NAMESPACE, RAY, Dashboard, Panel, Query, Row, Variable, line, stat

POD = Variable("pod", 'label_values(ray_node_mem_used{job="stageline-ray",namespace=~"$namespace"}, pod)', "Pod")
HERE = f'{RAY},pod=~"$pod"'
APP = f'{RAY},application="stageline"'
STARTS = " / ".join(
    f"sum by (deployment) (rate(ray_serve_replica_startup_latency_ms_{part}{{{APP}}}[1h]))" for part in ("sum", "count")
)

NODE = Dashboard(
    "stageline-node",
    "Stageline: node",
    "Ray's nodes: pods of the head and of workers.",
    (NAMESPACE, POD),
    (
        Row(
            "Now",
            (
                stat("Pods that tell", f"sum(up{{{RAY}}})", description="Of all Ray pods."),
                stat("Nodes that Ray knows", f"max(ray_cluster_active_nodes{{{RAY}}})"),
                stat(
                    "Fullest memory",
                    f"max(ray_node_mem_used{{{HERE}}} / ray_node_mem_total{{{HERE}}})",
                    unit="percentunit",
                    thresholds=(0.8, 0.9),
                ),
                stat(
                    "Fullest disk",
                    f"max(ray_node_disk_utilization_percentage{{{HERE}}})",
                    unit="percent",
                    thresholds=(80, 90),
                ),
            ),
        ),
        Row(
            "Machines",
            (
                Panel(
                    "Processor",
                    (Query(f"max by (pod) (ray_node_cpu_utilization{{{HERE}}})", "{{pod}}"),),
                    "percent",
                    "Of the pod's limit, where it has one.",
                    most=100,
                ),
                Panel(
                    "Memory",
                    (
                        Query(
                            f"max by (pod) (ray_node_mem_used{{{HERE}}}) / max by (pod) (ray_node_mem_total{{{HERE}}})",
                            "{{pod}}",
                        ),
                    ),
                    "percentunit",
                    most=1,
                ),
                line(
                    "Memory by component",
                    f"sum by (pod, Component) (ray_component_rss_bytes{{{HERE}}})",
                    "{{pod}} {{Component}}",
                    unit="bytes",
                    description="Shared pages count for each process that has them.",
                ),
            ),
        ),
        Row(
            "Disk and network",
            (
                Panel(
                    "Disk",
                    (Query(f"max by (pod) (ray_node_disk_utilization_percentage{{{HERE}}})", "{{pod}}"),),
                    "percent",
                    most=100,
                ),
                line("Received", f"max by (pod) (ray_node_network_receive_speed{{{HERE}}})", "{{pod}}", unit="Bps"),
                line("Sent", f"max by (pod) (ray_node_network_send_speed{{{HERE}}})", "{{pod}}", unit="Bps"),
            ),
        ),
        Row(
            "Ray",
            (
                Panel(
                    "Actors by state",
                    (Query(f"sum by (State) (ray_actors{{{RAY}}})", "{{State}}"),),
                    stacked=True,
                ),
                line(
                    "Placement groups by state",
                    f"sum by (State) (ray_placement_groups{{{RAY}}})",
                    "{{State}}",
                    description="PENDING: no place for a replica's stages.",
                ),
                line("Start of a replica", STARTS, "{{deployment}}", unit="ms", description="Mean of the last hour."),
            ),
        ),
    ),
)
