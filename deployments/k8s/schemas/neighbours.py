"""The few custom resources of others that the manifests use: of Prometheus' operator, and of the Gateway API.

No package index has their definitions in a form that can be read here, so this says by itself which fields there are:
all of them down to the level that is written out below, and what lies deeper is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.k8s.objects import Fault, KubeObject

_DURATION = re.compile(r"(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)")
_GATEWAY_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")


OPEN = object()  # a field that is known, and not looked into


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text of a form that has a name."""

    name: str
    form: re.Pattern[str]


DURATION = Pattern("a duration such as 1m30s", _DURATION)
GATEWAY_DURATION = Pattern("a duration such as 3600s", _GATEWAY_DURATION)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A field's name ends in "!" where it has to be there. A list has one item, what each of its own is.
_HTTP = {
    "authorization": {"type": str, "credentials": {"key!": str, "name": str, "optional": bool}},
    "basicAuth": OPEN,
    "bearerTokenSecret": OPEN,
    "enableHttp2": bool,
    "followRedirects": bool,
    "noProxy": str,
    "oauth2": OPEN,
    "proxyConnectHeader": OPEN,
    "proxyFromEnvironment": bool,
    "proxyUrl": str,
    "tlsConfig": OPEN,
}
_RELABELING = {
    "action": _words(
        "replace Replace keep Keep drop Drop hashmod HashMod labelmap LabelMap labeldrop LabelDrop labelkeep LabelKeep "
        "lowercase Lowercase uppercase Uppercase keepequal KeepEqual dropequal DropEqual"
    ),
    "modulus": int,
    "regex": str,
    "replacement": str,
    "separator": str,
    "sourceLabels": [str],
    "targetLabel": str,
}
_ENDPOINT = _HTTP | {
    "filterRunning": bool,
    "honorLabels": bool,
    "honorTimestamps": bool,
    "interval": DURATION,
    "metricRelabelings": [_RELABELING],
    "params": OPEN,
    "path": str,
    "port": str,
    "relabelings": [_RELABELING],
    "scheme": _words("http https HTTP HTTPS"),
    "scrapeTimeout": DURATION,
    "targetPort": OPEN,
    "trackTimestampsStaleness": bool,
}
_SELECTOR = {
    "matchExpressions": [{"key!": str, "operator!": _words("In NotIn Exists DoesNotExist"), "values": [str]}],
    "matchLabels": OPEN,
}
_MONITOR = {
    "attachMetadata": OPEN,
    "bodySizeLimit": str,
    "convertClassicHistogramsToNHCB": bool,
    "fallbackScrapeProtocol": str,
    "jobLabel": str,
    "keepDroppedTargets": int,
    "labelLimit": int,
    "labelNameLengthLimit": int,
    "labelValueLengthLimit": int,
    "namespaceSelector": {"any": bool, "matchNames": [str]},
    "nativeHistogramBucketLimit": int,
    "nativeHistogramMinBucketFactor": OPEN,
    "podTargetLabels": [str],
    "sampleLimit": int,
    "scrapeClass": str,
    "scrapeClassicHistograms": bool,
    "scrapeNativeHistograms": bool,
    "scrapeProtocols": [str],
    "selector!": _SELECTOR,
    "selectorMechanism": str,
    "targetLimit": int,
}
_RULE = {
    "alert": str,
    "annotations": OPEN,
    "expr!": OPEN,
    "for": DURATION,
    "keep_firing_for": DURATION,
    "labels": OPEN,
    "record": str,
}
_RULE_GROUP = {
    "interval": DURATION,
    "labels": OPEN,
    "limit": int,
    "name!": str,
    "partial_response_strategy": str,
    "query_offset": DURATION,
    "rules": [_RULE],
}
_BACKEND = {"filters": OPEN, "group": str, "kind": str, "name!": str, "namespace": str, "port": int, "weight": int}
_PARENT = {"group": str, "kind": str, "name!": str, "namespace": str, "port": int, "sectionName": str}
_LISTENER = {
    "allowedRoutes": {"kinds": OPEN, "namespaces": {"from": _words("All Selector Same None"), "selector": _SELECTOR}},
    "hostname": str,
    "name!": str,
    "port!": int,
    "protocol!": str,
    "tls": {"certificateRefs": OPEN, "mode": _words("Terminate Passthrough"), "options": OPEN},
}
_ROUTE_RULE = {
    "backendRefs": [_BACKEND],
    "filters": OPEN,
    "matches": [{"headers": OPEN, "method": str, "path": {"type": str, "value": str}, "queryParams": OPEN}],
    "name": str,
    "retry": OPEN,
    "sessionPersistence": OPEN,
    "timeouts": {"backendRequest": GATEWAY_DURATION, "request": GATEWAY_DURATION},
}
SPECS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("monitoring.coreos.com/v1", "PodMonitor"): _MONITOR | {"podMetricsEndpoints": [_ENDPOINT | {"portNumber": int}]},
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _MONITOR
    | {"endpoints!": [_ENDPOINT | {"bearerTokenFile": str}], "serviceDiscoveryRole": str, "targetLabels": [str]},
    ("monitoring.coreos.com/v1", "PrometheusRule"): {"groups": [_RULE_GROUP]},
    ("gateway.networking.k8s.io/v1", "GatewayClass"): {
        "controllerName!": str,
        "description": str,
        "parametersRef": OPEN,
    },
    ("gateway.networking.k8s.io/v1", "Gateway"): {
        "addresses": OPEN,
        "allowedListeners": OPEN,
        "defaultScope": str,
        "gatewayClassName!": str,
        "infrastructure": {"annotations": OPEN, "labels": OPEN, "parametersRef": OPEN},
        "listeners!": [_LISTENER],
        "tls": OPEN,
    },
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): {
        "hostnames": [str],
        "parentRefs": [_PARENT],
        "rules": [_ROUTE_RULE],
        "useDefaultGateways": str,
    },
}
_OBJECT = {"apiVersion!": str, "kind!": str, "metadata!": OPEN, "status": OPEN}


def neighbour_schema(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Fields that do not exist, are missing, or are of another type."""
    for one in objects:
        spec = SPECS.get((one.api_version, one.kind))
        if spec is not None:
            for path, message in _check(one.data, _OBJECT | {"spec!": spec}, ""):
                yield Fault(one, path, message)


def unknown_kinds(objects: Sequence[KubeObject], known: Sequence[str]) -> list[str]:
    """Kinds of which no schema is here, with their groups; `known` are groups that other checks look at."""
    others = [one for one in objects if one.group not in known and (one.api_version, one.kind) not in SPECS]
    return sorted({f"{one.api_version} {one.kind}" for one in others})


def _check(data: Any, form: Any, path: str) -> Iterator[tuple[str, str]]:
    match form:
        case dict():
            yield from _check_fields(data, form, path)
        case [item]:
            if not isinstance(data, list):
                yield path, f"a list is wanted here, not {data!r}"
                return
            for index, value in enumerate(data):
                yield from _check(value, item, f"{path}[{index}]")
        case frozenset():
            if data not in form:
                yield path, f"{data!r} is not one of {', '.join(sorted(form))}"
        case Pattern():
            if not isinstance(data, str) or not data or not form.form.fullmatch(data):
                yield path, f"{data!r} is not {form.name}"
        case _ if form is OPEN:
            return
        case _:
            if not isinstance(data, form) or (form is int and isinstance(data, bool)):
                yield path, f"{data!r} should be {_NAMES[form]}"


_NAMES = {str: "text", int: "a whole number", bool: "true or false"}


def _check_fields(data: Any, form: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(data, Mapping):
        yield path, f"a section is wanted here, not {data!r}"
        return
    fields = {name.rstrip("!"): (below, name.endswith("!")) for name, below in form.items()}
    for name, (below, needed) in fields.items():
        at = f"{path}.{name}".lstrip(".")
        if name in data:
            yield from _check(data[name], below, at)
        elif needed:
            yield path or name, f"{name} is missing"
    for name in data:
        if name not in fields:
            yield path, f"there is no field {name} here"
