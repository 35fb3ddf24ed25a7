"""Turns a dashboard into Grafana's JSON (schema version 39: Grafana 10.4 and newer)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from deployments.k8s.dashboards.panels import Dashboard, Panel, Row, Variable

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24  # of Grafana's grid
STAT_HEIGHT = 4


def text_of(dashboard: Dashboard) -> str:
    """The file's content."""
    return json.dumps(json_of(dashboard), indent=1, ensure_ascii=False) + "\n"


def json_of(dashboard: Dashboard) -> dict[str, Any]:
    """As Grafana imports it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["stageline"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # the cursor is shown in all panels
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_data_source(), *map(_variable, dashboard.variables)]},
        "links": [
            {
                "type": "dashboards",
                "tags": ["stageline"],
                "title": "Stageline",
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": list(_panels(dashboard.rows)),
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        "refresh": 2,  # when the time range changes: models come and go
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    ids, top = count(1), 0
    for row in rows:
        yield {
            "id": next(ids),
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": top},
        }
        width = COLUMNS // len(row.panels)
        height = STAT_HEIGHT if all(panel.kind == "stat" for panel in row.panels) else row.height
        for place, panel in enumerate(row.panels):
            grid = {"h": height, "w": width, "x": place * width, "y": top + 1}
            yield {"id": next(ids), "gridPos": grid, **_panel(panel)}
        top += 1 + height


def _panel(panel: Panel) -> dict[str, Any]:
    instant = panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + place),
            "datasource": SOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "instant": instant,
            "range": not instant,
            **({"format": "table"} if instant else {}),
        }
        for place, query in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": _thresholds(panel)}
    if panel.least is not None:
        defaults["min"] = panel.least
    if panel.most is not None:
        defaults["max"] = panel.most
    options: dict[str, Any] = {}
    match panel.kind:
        case "timeseries":
            defaults["custom"] = {
                "lineWidth": 1,
                "fillOpacity": 30 if panel.stacked else 0,
                "showPoints": "never",
                "stacking": {"mode": "normal" if panel.stacked else "none"},
            }
            options = {
                "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case "stat":
            options = {
                "colorMode": "none" if panel.thresholds is None and panel.red_below is None else "value",
                "graphMode": "area",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            }
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        **({"transformations": [_plain_table()]} if instant else {}),
    }


def _thresholds(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.thresholds is not None:
        warn, bad = panel.thresholds
        steps += [{"color": "orange", "value": warn}, {"color": "red", "value": bad}]
    if panel.red_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.red_below}]
    return {"mode": "absolute", "steps": steps}


def _plain_table() -> dict[str, Any]:
    return {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {}}}
