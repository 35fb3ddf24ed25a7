"""RayJobs: what may be said together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from deployments.k8s.objects import Fault, KubeObject, get, mapping, of_kind


def jobs(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Which cluster a job takes, how it is handed in, and what is left of it."""
    for one in of_kind(objects, "RayJob"):
        spec = mapping(one.data, "spec")
        yield from _cluster(one, spec)
        yield from _submission(one, spec)
        yield from _end(one, spec)


def _cluster(one: KubeObject, spec: Mapping[str, Any]) -> Iterator[Fault]:
    selector = spec.get("clusterSelector")
    if not selector:
        if spec.get("rayClusterSpec") is None:
            yield Fault(one, "spec", "a RayJob needs a rayClusterSpec, or a clusterSelector")
        return
    if not selector.get("ray.io/cluster"):
        yield Fault(one, "spec.clusterSelector", "it names a cluster with ray.io/cluster")
    if spec.get("suspend"):
        yield Fault(one, "spec.suspend", "a job in a cluster that was there before cannot be suspended")
    if spec.get("submissionMode") == "SidecarMode":
        yield Fault(one, "spec.submissionMode", "SidecarMode needs a cluster of its own")
    if spec.get("backoffLimit", 0) > 0:
        yield Fault(one, "spec.backoffLimit", "a job in a cluster that was there before is not tried again")


def _submission(one: KubeObject, spec: Mapping[str, Any]) -> Iterator[Fault]:
    mode = spec.get("submissionMode")
    if mode == "InteractiveMode" and spec.get("backoffLimit", 0) > 0:
        yield Fault(one, "spec.backoffLimit", "InteractiveMode does not try again")
    if mode == "SidecarMode":
        for key in ("submitterPodTemplate", "submitterConfig"):
            if spec.get(key) is not None:
                yield Fault(one, f"spec.{key}", "SidecarMode has no pod that hands the job in")
        if get(spec, "rayClusterSpec.headGroupSpec.template.spec.restartPolicy", "Never") != "Never":
            path = "spec.rayClusterSpec.headGroupSpec.template.spec.restartPolicy"
            yield Fault(one, path, "SidecarMode wants Never, or nothing said")
    try:
        yaml.safe_load(spec.get("runtimeEnvYAML") or "")
    except yaml.YAMLError:
        yield Fault(one, "spec.runtimeEnvYAML", "not valid YAML")


def _end(one: KubeObject, spec: Mapping[str, Any]) -> Iterator[Fault]:
    stays = not spec.get("shutdownAfterJobFinishes")
    if spec.get("suspend") and stays:
        yield Fault(one, "spec.suspend", "only a job with shutdownAfterJobFinishes: true can be suspended")
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and stays:
        yield Fault(one, "spec.ttlSecondsAfterFinished", "this needs shutdownAfterJobFinishes: true")
    for key, least in (("ttlSecondsAfterFinished", 0), ("backoffLimit", 0), ("activeDeadlineSeconds", 1)):
        if spec.get(key) is not None and spec[key] < least:
            yield Fault(one, f"spec.{key}", f"{spec[key]} is less than {least}")
    rules = get(spec, "deletionStrategy.deletionRules")
    if rules and not stays:
        yield Fault(one, "spec.deletionStrategy.deletionRules", "either these or shutdownAfterJobFinishes")
