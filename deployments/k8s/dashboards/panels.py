"""What a dashboard is made of: queries, panels in rows, and variables to choose by. `grafana.py` turns it into JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

OURS = 'job="stageline",namespace=~"$namespace"'
RAY = 'job="stageline-ray",namespace=~"$namespace"'
"""Label matchers: Stageline's own metrics, and Ray's."""

Kind = Literal["timeseries", "stat", "table"]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression. `legend` names its series, by their labels: `{{model_name}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """`unit` is Grafana's name of it. `thresholds` are values from which a stat is orange, then red. `stacked` draws
    series on top of each other; `most` is the end of the axis."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    description: str = ""
    kind: Kind = "timeseries"
    stacked: bool = False
    least: float | None = 0.0
    most: float | None = None
    thresholds: tuple[float, float] | None = None
    red_below: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side, of one height, under a title that folds them away."""

    title: str
    panels: tuple[Panel, ...]
    height: int = 8


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top: values of a label, by PromQL's `label_values`."""

    name: str
    query: str
    label: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`uid` is its address in Grafana, and its file's name."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]


NAMESPACE = Variable("namespace", 'label_values(up{job="stageline"}, namespace)', "Namespace")
MODEL_NAME = Variable(
    "model", 'label_values(stageline:variant_replicas{job="stageline",namespace=~"$namespace"}, model_name)', "Model"
)
OF_MODEL = f'{OURS},model_name=~"$model"'


def line(title: str, expr: str, legend: str = "", *, unit: str = "short", description: str = "") -> Panel:
    """One query over time."""
    return Panel(title, (Query(expr, legend),), unit, description)


def stat(
    title: str,
    expr: str,
    *,
    unit: str = "short",
    description: str = "",
    thresholds: tuple[float, float] | None = None,
    red_below: float | None = None,
) -> Panel:
    """The latest value, large."""
    return Panel(title, (Query(expr),), unit, description, "stat", thresholds=thresholds, red_below=red_below)


def total(metric: str, matchers: str, by: Sequence[str], *, more: str = "") -> str:
    """How fast a counter grows, added up by labels."""
    labels = f"{matchers},{more}" if more else matchers
    return f"sum by ({', '.join(by)}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, matchers: str, by: Sequence[str]) -> str:
    """A quantile of a histogram, by labels."""
    return f"histogram_quantile({share}, {total(f'{histogram}_bucket', matchers, (*by, 'le'))})"


def quantiles(histogram: str, matchers: str, by: Sequence[str], legend: str) -> tuple[Query, ...]:
    """Half, 90 and 99 of a hundred."""
    return tuple(
        Query(quantile(share, histogram, matchers, by), f"{legend} p{round(100 * share)}".strip())
        for share in (0.5, 0.9, 0.99)
    )
