"""The PromQL of the monitoring component: where it stands, and which metrics and labels it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from deployments.k8s.dashboards import DASHBOARDS
from deployments.k8s.dashboards.panels import Dashboard

COMPONENT = Path(__file__).parents[3] / "k8s" / "components" / "monitoring"
CHOSEN = {"$__rate_interval": "1m", "$namespace": "stageline", "$model": ".*", "$pod": ".*"}
"""What Grafana puts in the place of its variables."""

ADDED = frozenset({"job", "instance", "namespace", "pod", "container", "endpoint"})
"""Labels that Prometheus and its operator add to what they scrape."""


@dataclass(frozen=True, slots=True)
class Use:
    """A metric and the labels of it that an expression names: in matchers, and where it is added up."""

    metric: str
    labels: frozenset[str]


def rules() -> list[dict[str, Any]]:
    """All rules, recording and alerting."""
    content = yaml.safe_load((COMPONENT / "rules.yaml").read_text(encoding="utf-8"))
    return [rule for group in content["spec"]["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """The alerting ones."""
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> dict[str, str]:
    """What is computed ahead, by name."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def expressions() -> dict[str, str]:
    """Every expression by where it stands, with Grafana's variables replaced."""
    found = {f"rule {rule.get('alert') or rule['record']}": rule["expr"] for rule in rules()}
    for dashboard in DASHBOARDS:
        for where, expr in queries(dashboard):
            for variable, value in CHOSEN.items():
                expr = expr.replace(variable, value)
            found[where] = expr
    return found


def queries(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """A dashboard's expressions as they are, and those behind its variables."""
    for row in dashboard.rows:
        for panel in row.panels:
            for place, query in enumerate(panel.queries):
                yield f"{dashboard.uid}: {row.title}: {panel.title}: {place}", query.expr
    for variable in dashboard.variables:
        selector, label = variable.query.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        yield f"{dashboard.uid}: variable {variable.name}", f"count by ({label}) ({selector})"


def uses(expr: str) -> list[Use]:
    """What an expression names. Raises ValueError where it is no PromQL."""
    tree = promql_parser.parse(expr)
    found = [Use(one.name or "", _matched(one)) for one in _selectors(tree)]

    def summed(node: Any) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            labels = frozenset(node.modifier.labels)
            found.extend(Use(one.name or "", labels) for one in _selectors(node.expr))

    promql_parser.walk(tree, pre_visit=summed)
    return found


def _matched(selector: Any) -> frozenset[str]:
    return frozenset(matcher.name for matcher in selector.matchers.matchers)


def _selectors(tree: Any) -> list[Any]:
    found: list[Any] = []

    def note(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(tree, pre_visit=note)
    return found
