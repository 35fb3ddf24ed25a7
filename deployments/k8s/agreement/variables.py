"""Environment variables of Ray's pods: a name with a typo in it is not an error for anybody, it does nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployments.k8s.facts import Facts
from deployments.k8s.objects import Fault, KubeObject, get, mappings
from deployments.k8s.pods import pods_of, ray_pods
from deployments.k8s.quantities import parse_quantity
from deployments.k8s.ray_clusters import environment

DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
_RAY_DRAINS_S = 30.0  # where nothing is said
_GRACE_S = 30  # Kubernetes' own


def switches(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """Every Ray pod of a RayService has Serve's switches, as `deployments/serving.py` sets them."""
    for pod in ray_pods(objects):
        if pod.owner.kind != "RayService":
            continue
        variables = environment(pod.ray_container)
        for name, value in facts.switches.items():
            said = variables.get(name)
            path = f"{pod.path}.containers[0].env"
            if said is None:
                yield Fault(pod.owner, path, f"{name}={value} is missing (deployments/serving.py says why)")
            elif str(said.get("value")) != value:
                yield Fault(
                    pod.owner, path, f"{name} is {said.get('value')!r}, and {value!r} in deployments/serving.py"
                )


def known_variables(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """RAY_... are read by Ray, STAGELINE_... by Stageline; none is there twice."""
    for pod in pods_of(objects):
        for path, container in pod.containers():
            seen: set[str] = set()
            for at, item in mappings(container, "env"):
                name = str(item.get("name"))
                if name in seen:
                    yield Fault(pod.owner, f"{path}.{at}", f"{name} is there twice")
                elif name.startswith("STAGELINE_") and name not in facts.our_variables:
                    yield Fault(pod.owner, f"{path}.{at}", f"Stageline reads no {name}")
                elif name.startswith("RAY_") and not facts.ray_reads(name):
                    yield Fault(pod.owner, f"{path}.{at}", f"Ray {facts.ray_version} reads no {name}")
                seen.add(name)


def draining(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """A pod that is to go is drained by Ray first; Kubernetes kills it when its grace period is over."""
    for pod in ray_pods(objects):
        said = environment(pod.ray_container).get(DRAIN)
        drains = parse_quantity(said.get("value")) if said is not None else _RAY_DRAINS_S
        grace = pod.spec.get("terminationGracePeriodSeconds", _GRACE_S)
        if drains is None:
            yield Fault(pod.owner, f"{pod.path}.containers[0].env", f"{DRAIN} is no number of seconds")
        elif grace <= drains:
            path = f"{pod.path}.terminationGracePeriodSeconds"
            yield Fault(pod.owner, path, f"{grace} s end before Ray's drain timeout, {drains:g} s ({DRAIN})")
        if get(pod.ray_container, "lifecycle.preStop") is not None:
            path = f"{pod.path}.containers[0].lifecycle.preStop"
            yield Fault(
                pod.owner, path, "Ray drains by itself when it is told to end; a `ray stop` would cut that short"
            )
