"""Ports, probes and selectors: whoever asks a pod asks it at a port and a path where something answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deployments.k8s.facts import PROXY_PATHS, RAY_PATHS, RAY_PORTS, Facts
from deployments.k8s.labels import matches
from deployments.k8s.objects import Fault, KubeObject, get, mapping, mappings, of_kind
from deployments.k8s.pods import Pod, pods_of

_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def container_ports(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Names in one pod are for one port each, and Ray's names mean Ray's ports."""
    for pod in pods_of(objects):
        seen: dict[str, Any] = {}
        for path, container in pod.containers():
            for at, port in mappings(container, "ports"):
                name, number = port.get("name"), port.get("containerPort")
                if name in seen:
                    yield Fault(pod.owner, f"{path}.{at}", f"the name {name} is there twice in the pod")
                seen[str(name)] = number
                if pod.is_ray and number != RAY_PORTS.get(str(name), number):
                    yield Fault(pod.owner, f"{path}.{at}", f"Ray's port {name} is {RAY_PORTS[str(name)]}, not {number}")


def probes(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """A probe over HTTP asks at a port of the pod, and for a path that Stageline, Serve or Ray has there."""
    for pod in pods_of(objects):
        for path, container in pod.containers():
            for name in _PROBES:
                asked = get(container, f"{name}.httpGet")
                if asked is not None:
                    yield from _probe(pod, f"{path}.{name}.httpGet", asked, facts)


def _probe(pod: Pod, path: str, asked: Mapping[str, Any], facts: Facts) -> Iterator[Fault]:
    port = _number(pod, asked.get("port"))
    if port is None:
        yield Fault(pod.owner, f"{path}.port", f"no container of the pod has the port {asked.get('port')!r}")
    elif pod.is_ray:
        at_port = _serve_port(pod, facts) == port
        answered = facts.routes | PROXY_PATHS if at_port else RAY_PATHS.get(port, frozenset())
        if asked.get("path", "/") not in answered:
            known = ", ".join(sorted(answered)[:12]) or "nothing known"
            yield Fault(
                pod.owner, f"{path}.path", f"nothing answers {asked.get('path', '/')} at {port}; there: {known}"
            )


def services(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """A Service, and what KubeRay makes of `serveService`, points at ports that the pods have."""
    pods = pods_of(objects)
    for one in of_kind(objects, "Service"):
        selector = mapping(one.data, "spec.selector")
        chosen = [pod for pod in pods if selector and matches({"matchLabels": selector}, pod.labels)]
        yield from _service_ports(one, "spec.ports", chosen)
    for one in of_kind(objects, "RayService"):
        chosen = [pod for pod in pods if pod.owner is one and pod.is_ray]
        yield from _service_ports(one, "spec.serveService.spec.ports", chosen)


def _service_ports(one: KubeObject, path: str, pods: Sequence[Pod]) -> Iterator[Fault]:
    for at, port in mappings(one.data, path):
        target = port.get("targetPort", port.get("port"))
        if pods and not any(_number(pod, target) is not None for pod in pods):
            yield Fault(one, at, f"none of the pods has the port {target!r}")


def network_ports(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """What a NetworkPolicy lets in is a port at which the pods that it is for listen."""
    pods = pods_of(objects)
    for one in of_kind(objects, "NetworkPolicy"):
        chosen = [pod for pod in pods if matches(mapping(one.data, "spec.podSelector"), pod.labels)]
        for path, rule in mappings(one.data, "spec.ingress"):
            for at, port in mappings(rule, "ports"):
                target = port.get("port")
                if chosen and target is not None and not any(_number(pod, target) is not None for pod in chosen):
                    yield Fault(one, f"{path}.{at}.port", f"none of the pods has the port {target!r}")


def selectors(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """What selects pods selects some of those that are made here."""
    pods = pods_of(objects)
    for one in objects:
        for path, selector, what in _selectors(one):
            if selector and not any(matches(selector, pod.labels) for pod in pods):
                yield Fault(one, path, f"no pod that is made here has these labels, so this {what} is for none")


def monitored_ports(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """A PodMonitor scrapes a named port of the pods that it selects, at a path with metrics."""
    pods = pods_of(objects)
    for one in of_kind(objects, "PodMonitor"):
        chosen = [pod for pod in pods if matches(mapping(one.data, "spec.selector"), pod.labels)]
        for path, endpoint in mappings(one.data, "spec.podMetricsEndpoints"):
            port = endpoint.get("port", endpoint.get("portNumber", endpoint.get("targetPort")))
            numbers = {_number(pod, port) for pod in chosen} - {None}
            if chosen and not numbers:
                yield Fault(one, f"{path}.port", f"none of the pods has the port {port!r}")
            asked = endpoint.get("path", "/metrics")
            if numbers and not any(_scraped(pod, port, asked, facts) for pod in chosen):
                yield Fault(one, f"{path}.path", f"there are no metrics at {asked} of the port {port}")


def _scraped(pod: Pod, port: Any, path: str, facts: Facts) -> bool:
    number = _number(pod, port)
    if number is None:
        return False
    if not pod.is_ray:
        return True  # another program's, of which nothing is known here
    return path in (facts.routes if number == _serve_port(pod, facts) else RAY_PATHS.get(number, frozenset()))


def _selectors(one: KubeObject) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    match one.kind:
        case "Service":
            selector = mapping(one.data, "spec.selector")
            yield "spec.selector", {"matchLabels": selector} if selector else {}, "Service"
        case "PodDisruptionBudget" | "PodMonitor":
            yield "spec.selector", mapping(one.data, "spec.selector"), one.kind
        case "NetworkPolicy":
            yield "spec.podSelector", mapping(one.data, "spec.podSelector"), one.kind


def _number(pod: Pod, port: Any) -> int | None:
    """The number of a pod's port; None where the pod has none of that name or number."""
    named = {
        str(item.get("name")): item.get("containerPort")
        for _, container in pod.containers()
        for _, item in mappings(container, "ports")
    }
    if isinstance(port, str) and not re.fullmatch(r"\d+", port):
        found = named.get(port)
        return found if isinstance(found, int) else None
    number = int(port) if port is not None else None
    known = {*named.values(), *(RAY_PORTS.values() if pod.is_ray else ())}
    return number if number in known else None


def _serve_port(pod: Pod, facts: Facts) -> int:
    return _number(pod, "serve") or facts.port
