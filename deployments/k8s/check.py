"""All rules over a set of objects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from deployments.k8s.facts import Facts
from deployments.k8s.objects import Fault, KubeObject
from deployments.k8s.rules import AGREEING, ALONE
from deployments.k8s.schemas.core import core_schema, metadata_schema, pod_schema
from deployments.k8s.schemas.kuberay import Schemas, kuberay_schema
from deployments.k8s.security.pods import image_digest

KUBERNETES = "1.35"  # whose schemas are taken where nothing is said


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault with the rule that found it, and what was checked (`source`)."""

    rule: str
    source: str
    object: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.object}: {self.path}: {self.message} [{self.rule}]"


def check(
    objects: Sequence[KubeObject],
    facts: Facts,
    *,
    source: str = "",
    kubernetes: str = KUBERNETES,
    kuberay: Schemas | None = None,
    digests: bool = False,
    without: Collection[str] = (),
) -> list[Finding]:
    """Everything that is wrong, schema by schema and rule by rule. Without KubeRay's schemas (`kuberay`) that check is
    left out, and so are rules named in `without`; images have to be named by digest only with `digests`. Raises
    ConfigError where Kubernetes' schemas cannot be had."""
    found: list[tuple[str, Iterable[Fault]]] = [
        ("core-schema", core_schema(objects, kubernetes)),
        ("pod-schema", pod_schema(objects, kubernetes)),
        ("metadata-schema", metadata_schema(objects, kubernetes)),
    ]
    if kuberay is not None:
        found.append(("kuberay-schema", kuberay_schema(objects, kuberay)))
    if digests:
        found.append(("image-digest", image_digest(objects)))
    found += [(name, rule(objects)) for name, rule in ALONE.items()]
    found += [(name, rule(objects, facts)) for name, rule in AGREEING.items()]
    return [finding for name, faults in found if name not in without for finding in _findings(name, source, faults)]


def _findings(rule: str, source: str, faults: Iterable[Fault]) -> Iterator[Finding]:
    for fault in faults:
        yield Finding(rule, source, fault.object.label, fault.path, fault.message)
