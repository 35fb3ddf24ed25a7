"""Against KubeRay's own rules."""

from __future__ import annotations

from tests.deployments.k8s.good import head, pod, service_of, worker
from tests.deployments.k8s.mistakes.planted import Planted, both, cluster_of, front_doors, gated, incremental, recovers

KUBERAY = [
    Planted("kuberay-name", "longer than 47", lambda d: d[0]["metadata"].update(name="s" * 48)),
    Planted("kuberay-name", "begin with a letter", lambda d: d[0]["metadata"].update(name="1st")),
    Planted("kuberay-name", "itself", lambda d: head(d).update(headService={"metadata": {"name": "mine"}})),
    Planted("kuberay-name", "DNS label", lambda d: worker(d).update(groupName="CPU_1")),
    Planted("kuberay-name", "taken", lambda d: worker(d).update(groupName="headgroup")),
    Planted("kuberay-resources", "rayStartParams has num-cpus", lambda d: worker(d).update(resources={"CPU": "2"})),
    Planted("kuberay-labels", "own field", lambda d: worker(d)["rayStartParams"].update(labels="a=b")),
    Planted("kuberay-labels", "label's name", lambda d: worker(d).update(labels={"-a": "b"})),
    Planted("kuberay-labels", "label's value", lambda d: worker(d).update(labels={"a": "b c"})),
    Planted("kuberay-replicas", "more than maxReplicas", lambda d: worker(d).update(replicas=3)),
    Planted("kuberay-replicas", "less than minReplicas", lambda d: worker(d).update(replicas=0)),
    Planted(
        "kuberay-replicas",
        "less than none",
        lambda d: d[1]["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].update(minReplicas=-1),
    ),
    Planted(
        "kuberay-autoscaler",
        "own",
        lambda d: cluster_of(d)["autoscalerOptions"].update(
            env=[{"name": "KUBERAY_GEN_AUTOSCALER_START_CMD", "value": "x"}]
        ),
    ),
    Planted(
        "kuberay-autoscaler", "negative", lambda d: cluster_of(d)["autoscalerOptions"].update(idleTimeoutSeconds=-1)
    ),
    Planted("kuberay-autoscaled-group", "suspended", lambda d: worker(d).update(suspend=True)),
    Planted(
        "kuberay-autoscaled-group",
        "version: v2",
        both(
            lambda d: worker(d).update(idleTimeoutSeconds=60),
            lambda d: cluster_of(d)["autoscalerOptions"].pop("version"),
        ),
    ),
    Planted("kuberay-restart-policy", "Always does not go", lambda d: pod(worker(d)).update(restartPolicy="Always")),
    Planted(
        "kuberay-fault-tolerance",
        "annotation",
        both(recovers(), lambda d: d[0]["metadata"].update(annotations={"ray.io/ft-enabled": "true"})),
    ),
    Planted(
        "kuberay-fault-tolerance",
        "redisPassword",
        both(recovers(), lambda d: head(d)["rayStartParams"].update({"redis-password": "x"})),
    ),
    Planted("kuberay-fault-tolerance", "rocksdb", recovers(storage={"size": "1Gi"})),
    Planted("kuberay-fault-tolerance", "user", lambda d: head(d)["rayStartParams"].update({"redis-username": "x"})),
    Planted(
        "kuberay-auth",
        "refuses this for a RayService",
        lambda d: cluster_of(d).update(authOptions={"mode": "token", "enableK8sTokenAuth": True}),
    ),
    Planted("kuberay-auth", "mode: token", lambda d: d[2]["spec"].update(authOptions={"enableK8sTokenAuth": True})),
    Planted(
        "kuberay-auth", "no Secret", lambda d: d[2]["spec"]["authOptions"].update(secretName="stageline-ray-token")
    ),
    Planted("kuberay-feature-gate", "RayClusterMTLS", lambda d: cluster_of(d).update(tlsOptions={"enabled": True})),
    Planted(
        "kuberay-feature-gate",
        "RayClusterNetworkPolicy",
        lambda d: cluster_of(d).update(networkPolicy={"mode": "DenyAll"}),
    ),
    Planted(
        "kuberay-feature-gate",
        "GCSFaultToleranceEmbeddedStorage",
        both(front_doors(2), lambda d: cluster_of(d).update(gcsFaultToleranceOptions={"backend": "rocksdb"})),
    ),
    Planted(
        "kuberay-tls",
        "set from tlsOptions",
        both(
            gated("RayClusterMTLS", tlsOptions={"enabled": True}),
            lambda d: cluster_of(d)["autoscalerOptions"].update(env=[{"name": "RAY_USE_TLS", "value": "1"}]),
        ),
    ),
    Planted(
        "kuberay-network-policy",
        "leaves that direction open",
        gated("RayClusterNetworkPolicy", networkPolicy={"mode": "DenyAllEgress", "head": {"ingressRules": [{}]}}),
    ),
    Planted(
        "kuberay-network-policy",
        "no worker group gpu",
        gated("RayClusterNetworkPolicy", networkPolicy={"workerGroups": [{"groupName": "gpu"}]}),
    ),
    Planted("kuberay-upgrade", "not one of", lambda d: service_of(d).update(upgradeStrategy={"type": "Rolling"})),
    Planted("kuberay-upgrade", "class of a gateway", incremental(gatewayClassName=None)),
    Planted("kuberay-upgrade", "more than maxSurgePercent", incremental(stepSizePercent=60)),
    Planted("kuberay-upgrade", "between 0 and 100", incremental(maxSurgePercent=101)),
    Planted("kuberay-upgrade", "above 0", incremental(intervalSeconds=None)),
    Planted("kuberay-upgrade", "negative", lambda d: service_of(d).update(rayClusterDeletionDelaySeconds=-1)),
    Planted(
        "kuberay-upgrade", "spec.upgradeStrategy", lambda d: cluster_of(d).update(upgradeStrategy={"type": "Recreate"})
    ),
    Planted(
        "kuberay-timeout",
        "neither",
        lambda d: d[0]["metadata"].update(annotations={"ray.io/initializing-timeout": "soon"}),
    ),
    Planted(
        "kuberay-timeout",
        "neither",
        lambda d: d[0]["metadata"].update(annotations={"ray.io/initializing-timeout": "0s"}),
    ),
    Planted("kuberay-serve-config", "not valid YAML", lambda d: service_of(d).update(serveConfigV2="a: [")),
    Planted("kuberay-serve-config", "nothing in it", lambda d: service_of(d).update(serveConfigV2="applications")),
    Planted(
        "kuberay-job", "only a job with", lambda d: d[1]["spec"].update(suspend=True, shutdownAfterJobFinishes=False)
    ),
    Planted(
        "kuberay-job",
        "InteractiveMode",
        lambda d: d[1]["spec"].update(submissionMode="InteractiveMode", backoffLimit=1),
    ),
    Planted("kuberay-job", "needs a rayClusterSpec", lambda d: d[1].update(spec={"entrypoint": "x"})),
    Planted("kuberay-job", "less than 1", lambda d: d[1]["spec"].update(activeDeadlineSeconds=0)),
]
