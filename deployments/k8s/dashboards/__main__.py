"""Writes the dashboards' JSON into the checkout."""

from __future__ import annotations

from pathlib import Path

from deployments.k8s.dashboards import DASHBOARDS
from deployments.k8s.dashboards.grafana import text_of

FOLDER = Path(__file__).parents[3] / "k8s" / "components" / "monitoring" / "dashboards"

if __name__ == "__main__":
    for dashboard in DASHBOARDS:
        path = FOLDER / f"{dashboard.uid}.json"
        path.write_text(text_of(dashboard), encoding="utf-8")
        print(path)
