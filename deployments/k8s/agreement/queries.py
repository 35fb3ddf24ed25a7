"""Metrics that alerts, recording rules and dashboards name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from deployments.k8s.facts import Facts
from deployments.k8s.objects import Fault, KubeObject, mapping, mappings, of_kind

# Of programs beside Stageline and Ray, of whose metrics there is no list here: Kubernetes' own exporters, KubeRay's
# operator, Prometheus, HAProxy.
_OTHERS = re.compile(
    r"(kube|kubelet|container|machine|node|kuberay|prometheus|haproxy|DCGM|redis)_\w+|up|ALERTS\w*|scrape_\w+"
)
_AGGREGATIONS = "sum|min|max|avg|group|stddev|stdvar|count|count_values|bottomk|topk|quantile|limitk|limit_ratio"
_KEYWORDS = frozenset(
    [
        "and",
        "or",
        "unless",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "bool",
        "offset",
        "inf",
        "nan",
        "atan2",
        "start",
        "end",
    ]
)
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`')


def metrics_in(expression: str) -> set[str]:
    """The metrics that a PromQL expression names. `$variables` of a dashboard are left out."""
    text = _TEXT.sub('""', re.sub(r"#[^\n]*", "", expression))
    named = set(re.findall(r'__name__\s*=\s*"([^"]+)"', expression))
    for gone in (r"\{[^{}]*\}", r"\[[^\]]*\]", r"\$\{[^}]*\}", r"\$\w+"):
        text = re.sub(gone, " ", text)
    text = _GROUPING.sub(" ", text)
    text = re.sub(r"\b\d+(\.\d+)?([a-zA-Z]\w*)?\b", " ", text)  # numbers and durations
    found = set()
    for match in _NAME.finditer(text):
        called = text[match.end() :].lstrip().startswith("(")
        if not called and match[0].lower() not in _KEYWORDS and match[0] not in _AGGREGATIONS.split("|"):
            found.add(match[0])
    return found | named


def known_metrics(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """Each exists: Stageline's and Ray's by their own lists, recorded ones by their rules."""
    recorded = {
        str(rule.get("record"))
        for one in of_kind(objects, "PrometheusRule")
        for _, group in mappings(one.data, "spec.groups")
        for _, rule in mappings(group, "rules")
    }
    known = facts.metrics | recorded
    for one, path, expression in expressions(objects):
        for name in sorted(metrics_in(expression)):
            of_ray = name.startswith("ray_") and facts.ray_measures(name)
            if name not in known and not of_ray and not _OTHERS.fullmatch(name):
                yield Fault(one, path, f"there is no metric {name}")


def expressions(objects: Sequence[KubeObject]) -> Iterator[tuple[KubeObject, str, str]]:
    """Of all rules and of all dashboards in ConfigMaps, with their places."""
    for one in of_kind(objects, "PrometheusRule"):
        for path, group in mappings(one.data, "spec.groups"):
            for at, rule in mappings(group, "rules"):
                yield one, f"{path}.{at}.expr", str(rule.get("expr"))
    for one in of_kind(objects, "ConfigMap"):
        for name, text in mapping(one.data, "data").items():
            if name.endswith(".json") and '"panels"' in str(text):
                yield from _of_dashboard(one, f"data.{name}", str(text))


def dashboards_read(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """A dashboard is JSON, with a title and panels."""
    for one in of_kind(objects, "ConfigMap"):
        if "grafana_dashboard" not in mapping(one.data, "metadata.labels"):
            continue
        for name, text in mapping(one.data, "data").items():
            dashboard = _parsed(text)
            if not isinstance(dashboard, dict) or not dashboard.get("panels") or not dashboard.get("title"):
                yield Fault(one, f"data.{name}", "this is no dashboard: JSON with a title and panels is wanted")


def _of_dashboard(one: KubeObject, path: str, text: str) -> Iterator[tuple[KubeObject, str, str]]:
    dashboard = _parsed(text)
    for title, expression in _targets(dashboard, ""):
        yield one, f"{path} ({title})" if title else path, expression
    for item in ((dashboard or {}).get("templating") or {}).get("list") or ():
        query = item.get("query")
        query = query.get("query") if isinstance(query, dict) else query
        match = re.fullmatch(r"\s*label_values\((.*),\s*\w+\s*\)\s*", str(query or ""), re.DOTALL)
        if match is not None:
            yield one, f"{path} (variable {item.get('name')})", match[1]


def _targets(part: Any, title: str) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        title = str(part.get("title") or title)
        if isinstance(part.get("expr"), str):
            yield title, part["expr"]
        for value in part.values():
            yield from _targets(value, title)
    elif isinstance(part, list):
        for value in part:
            yield from _targets(value, title)


def _parsed(text: Any) -> Any:
    try:
        return json.loads(str(text))
    except ValueError:
        return None
