"""Between manifests, code and images."""

from __future__ import annotations

from tests.deployments.k8s.good import container, head, named, pod, service_of, worker
from tests.deployments.k8s.mistakes.planted import Planted, cluster_of, dashboard, environment, recovers, rule, scaled

AGREEMENT = [
    Planted(
        "container-ports",
        "there twice",
        lambda d: container(named(d, "Job"))["ports"].append({"name": "http", "containerPort": 1}),
    ),
    Planted(
        "container-ports",
        "not 6380",
        lambda d: container(head(d))["ports"].append({"name": "gcs", "containerPort": 6380}),
    ),
    Planted(
        "probes",
        "nothing answers /healthz",
        lambda d: container(worker(d))["readinessProbe"]["httpGet"].update(path="/healthz"),
    ),
    Planted(
        "probes",
        "nothing answers /api/healthz at 8265",
        lambda d: container(head(d))["livenessProbe"]["httpGet"].update(path="/api/healthz", port=8265),
    ),
    Planted("probes", "port 'http'", lambda d: container(worker(d))["readinessProbe"]["httpGet"].update(port="http")),
    Planted("services", "port 8001", lambda d: service_of(d)["serveService"]["spec"]["ports"][0].update(port=8001)),
    Planted("services", "'web'", lambda d: named(d, "Service")["ports"][0].update(targetPort="web")),
    Planted(
        "network-ports", "port 8001", lambda d: named(d, "NetworkPolicy")["ingress"][0]["ports"][0].update(port=8001)
    ),
    Planted(
        "monitored-ports",
        "no metrics at /metric ",
        lambda d: named(d, "PodMonitor")["podMetricsEndpoints"][0].update(path="/metric"),
    ),
    Planted(
        "monitored-ports",
        "'http-metrics'",
        lambda d: named(d, "PodMonitor")["podMetricsEndpoints"][0].update(port="http-metrics"),
    ),
    Planted(
        "selectors",
        "for none",
        lambda d: named(d, "PodDisruptionBudget")["selector"]["matchLabels"].update(app="other"),
    ),
    Planted("selectors", "for none", lambda d: named(d, "Service").update(selector={"app": "other"})),
    Planted("disruption-budgets", "could be drained", lambda d: named(d, "PodDisruptionBudget").update(minAvailable=3)),
    Planted(
        "disruption-budgets", "as a whole number", lambda d: named(d, "PodDisruptionBudget").update(minAvailable="50%")
    ),
    Planted("serve-switches", "is missing", lambda d: container(worker(d))["env"].pop(1)),
    Planted("serve-switches", "'1' in deployments", lambda d: container(head(d))["env"][1].update(value="0")),
    Planted("known-variables", "Ray 2.60.0 reads no RAY_TYPO", lambda d: environment(worker(d), RAY_TYPO="1")),
    Planted("known-variables", "Stageline reads no", lambda d: environment(worker(d), STAGELINE_CASH="1")),
    Planted("known-variables", "there twice", lambda d: environment(worker(d), STAGELINE_CACHE="/a")),
    Planted("drain-timeout", "end before", lambda d: pod(worker(d)).update(terminationGracePeriodSeconds=600)),
    Planted(
        "drain-timeout",
        "ray stop",
        lambda d: container(worker(d)).update(lifecycle={"preStop": {"exec": {"command": ["ray", "stop"]}}}),
    ),
    Planted(
        "references",
        "no Secret stageline-token here; known Secrets: stageline-api-keys, stageline-metrics-key, stageline-ray-ca, "
        "stageline-ray-token, stageline-redis; if you "
        "make it in the cluster: --secret stageline-token=auth_token",
        lambda d: cluster_of(d)["authOptions"].update(secretName="stageline-token"),
    ),
    Planted(
        "references",
        "no key pass",
        recovers(redisPassword={"valueFrom": {"secretKeyRef": {"name": "stageline-redis", "key": "pass"}}}),
    ),
    Planted("references", "no ConfigMap", lambda d: pod(worker(d))["volumes"][0].update(configMap={"name": "x"})),
    Planted(
        "references",
        "no volume model",
        lambda d: container(named(d, "Job")).update(volumeMounts=[{"name": "model", "mountPath": "/m"}]),
    ),
    Planted("references", "no ServiceAccount", lambda d: pod(worker(d)).update(serviceAccountName="other")),
    Planted("scalers", "Ray's own autoscaler", scaled("HorizontalPodAutoscaler", "scaleTargetRef")),
    Planted("scalers", "Ray's own autoscaler", scaled("ScaledObject", "scaleTargetRef")),
    Planted("image-user", "10001:10001", lambda d: pod(worker(d))["securityContext"].update(runAsUser=1000)),
    Planted("ray-version", "runs on 2.60.0", lambda d: cluster_of(d).update(rayVersion="2.59.0")),
    Planted("known-metrics", "vllm:num_requests_runing", lambda d: dashboard(d, "sum(vllm:num_requests_runing)")),
    Planted("known-metrics", "vllm:request_success", lambda d: rule(d).update(expr="rate(vllm:request_success[5m])")),
    Planted("known-metrics", "ray_node_cpu", lambda d: dashboard(d, "ray_node_cpu")),
    Planted("dashboards", "no dashboard", lambda d: named(d, "ConfigMap")["data"].update({"service.json": "{"})),
]
