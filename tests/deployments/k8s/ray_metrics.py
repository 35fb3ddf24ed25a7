"""Ray's metrics that rules and panels name, with the labels that they name: as Ray 2.60 has them. That a running server
does is what `tests/deployments/server/test_metric_names.py` shows."""

from __future__ import annotations

_DEPLOYMENT = frozenset({"application", "deployment"})
_REPLICA = _DEPLOYMENT | {"replica"}

RAY: dict[str, frozenset[str]] = {
    "ray_actors": frozenset({"State"}),
    "ray_cluster_active_nodes": frozenset(),
    "ray_component_rss_bytes": frozenset({"Component"}),
    "ray_node_cpu_utilization": frozenset(),
    "ray_node_disk_utilization_percentage": frozenset(),
    "ray_node_mem_total": frozenset(),
    "ray_node_mem_used": frozenset(),
    "ray_node_network_receive_speed": frozenset(),
    "ray_node_network_send_speed": frozenset(),
    "ray_placement_groups": frozenset({"State"}),
    "ray_serve_autoscaling_target_replicas": _DEPLOYMENT,
    "ray_serve_deployment_replica_healthy": _REPLICA,
    "ray_serve_num_http_requests_total": frozenset({"application", "status_code"}),
    "ray_serve_replica_startup_latency_ms_count": _DEPLOYMENT,
    "ray_serve_replica_startup_latency_ms_sum": _DEPLOYMENT,
}
