"""Requests and limits: without them one pod takes what others need, and the wrong one is ended for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployments.k8s.objects import Fault, KubeObject, get, mapping
from deployments.k8s.quantities import parse_quantity
from deployments.k8s.security.containers import places


def resources(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """CPU and memory requested, memory limited, no request above its limit, and all of them quantities."""
    for one, path, container, _ in places(objects):
        at = f"{path}.resources"
        for kind, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            if get(container, f"resources.{kind}.{name}") is None:
                yield Fault(one, f"{at}.{kind}.{name}", "this has to be said")
        for kind in ("requests", "limits"):
            for name, value in mapping(container, f"resources.{kind}").items():
                if parse_quantity(value) is None:
                    yield Fault(one, f"{at}.{kind}.{name}", f"{value!r} is no quantity")
        for name, value in mapping(container, "resources.requests").items():
            asked, limit = parse_quantity(value), parse_quantity(get(container, "resources.limits", {}).get(name))
            if asked is not None and limit is not None and asked > limit:
                yield Fault(one, f"{at}.requests.{name}", f"{value} is more than the limit")
