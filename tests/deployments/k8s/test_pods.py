from __future__ import annotations

from deployments.k8s.objects import KubeObject
from deployments.k8s.pods import pods_of, ray_pods
from tests.deployments.k8s.good import Document, good, job, ray_service


def pods(*documents: Document) -> list[tuple[str, str, str]]:
    return [(pod.path, pod.role, pod.group) for pod in pods_of([KubeObject(document) for document in documents])]


def test_pods_of_kuberay_lie_in_its_groups() -> None:
    assert pods(ray_service()) == [
        ("spec.rayClusterConfig.headGroupSpec.template.spec", "head", "headgroup"),
        ("spec.rayClusterConfig.workerGroupSpecs[0].template.spec", "worker", "cpu"),
    ]


def test_pods_of_kubernetes_lie_in_templates() -> None:
    cron = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": {"jobTemplate": job()}}
    alone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}
    found = pods(job(), cron, alone)
    assert [path for path, _, _ in found] == ["spec.template.spec", "spec.jobTemplate.spec.template.spec", "spec"]
    assert {role for _, role, _ in found} == {"other"}


def test_labels_are_kuberays_and_the_templates_own_which_win() -> None:
    head, worker = ray_pods([KubeObject(ray_service())])
    assert head.labels["ray.io/node-type"] == "head"
    assert worker.labels["ray.io/group"] == "cpu"
    assert worker.labels["app.kubernetes.io/name"] == "stageline"


def test_all_good_pods_are_seen() -> None:
    assert len(pods(*good())) == 7
