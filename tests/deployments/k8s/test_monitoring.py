"""What the monitoring component names is there: metrics and labels in the code, sections in the documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deployments.access.ring import KeyFile
from deployments.drift.compare import Comparison
from deployments.drift.metrics import DriftMetrics
from deployments.front_door.access_metrics import AccessMetrics
from deployments.generation_replica import GenerationReplica
from deployments.k8s.dashboards import DASHBOARDS
from deployments.k8s.dashboards.grafana import json_of, text_of
from deployments.provision import VariantFiles
from engine.config import EngineConfig
from engine.errors import Overloaded
from tests.cluster.pipeline.test_state import STAGE
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.test_operations import client_of
from tests.deployments.k8s.promql import ADDED, COMPONENT, Use, alerts, expressions, recorded, rules, uses
from tests.deployments.k8s.ray_metrics import RAY
from tests.engine.tiny import write_checkpoint

DOCS = Path(__file__).parents[3] / "docs"
Labels = dict[str, frozenset[str]]


@pytest.fixture
def replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GenerationReplica]:
    """One that has stages, or says so."""
    write_checkpoint("llama", tmp_path)
    config = EngineConfig(precision="fp32", threads=1, kv_cache_bytes=8 << 20)
    replica = GenerationReplica("tiny", "bf16", VariantFiles.at(tmp_path), config)
    monkeypatch.setattr(replica, "stages", lambda: (STAGE, STAGE))
    yield replica
    replica.loop.stop()


async def page_of(replica: GenerationReplica, keys: Path) -> str:
    """`/metrics` as the front door writes it, once everything has happened that makes a series. `keys` is a file of API
    keys."""

    others = CollectorRegistry()
    others.register(AccessMetrics(KeyFile(keys)))
    metrics = DriftMetrics()
    metrics.compared("tiny", "bf16", Comparison(3, 2.0, 0.5))
    metrics.skipped("tiny", "bf16", "busy")
    others.register(metrics)

    async def sources() -> Sequence[str]:
        return (await replica.exposition(), generate_latest(others).decode())

    engine = FakeEngine()
    service = make_service(engine, metrics_sources=sources)
    service.models["tiny"].router.steps["bf16", "fp32", "ttft"] += 1
    async with client_of(service) as client:
        await client.post("/v1/completions", json={"prompt": "Hi", "max_tokens": 4})
        engine.failure = Overloaded("The queue is full.")
        await client.post("/v1/completions", json={"prompt": "Hi"})
        return (await client.get("/metrics")).text


def labels_in(page: str) -> Labels:
    """Sample names, and all labels that they have somewhere."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return {name: frozenset(labels) for name, labels in found.items()}


def labels_recorded() -> Labels:
    """Of what is computed ahead: what its expression adds up by."""
    return {name: frozenset().union(*(use.labels for use in uses(expr))) - {"job"} for name, expr in recorded().items()}


def unknown(use: Use, known: Labels) -> str:
    """What of a use is not there; "" where all is."""
    if use.metric not in known:
        return f"no metric {use.metric!r}"
    missing = use.labels - known[use.metric] - ADDED
    return f"{use.metric} has no label {', '.join(sorted(missing))}" if missing else ""


async def test_every_metric_and_label_is_there(replica: GenerationReplica, tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    keys.write_text("keys: []\n")
    known: Labels = {**labels_in(await page_of(replica, keys)), **RAY, **labels_recorded(), "up": frozenset()}
    wrong = {
        where: words for where, expr in expressions().items() for use in uses(expr) if (words := unknown(use, known))
    }
    assert wrong == {}


def test_a_wrong_name_would_be_found() -> None:
    known: Labels = {"a_total": frozenset({"model_name"})}
    assert [unknown(use, known) for use in uses('sum by (model) (rate(a_total{job="x",le="1"}[5m])) / b')] == [
        "a_total has no label le",
        "no metric 'b'",
        "a_total has no label model",
    ]
    with pytest.raises(ValueError, match=r"paren|unexpected"):
        uses("sum by (model) (rate(a_total[5m])")


def test_rates_are_of_counters_and_quantiles_of_buckets() -> None:
    for where, expr in expressions().items():
        for name in re.findall(r"(?:rate|increase)\(([\w:]+)", expr):
            # (The time that engines were busy only grows, but stands as a gauge.)
            assert name.endswith(("_total", "_sum", "_count", "_bucket", "stageline:engine_busy_seconds")), where
        assert ("histogram_quantile" in expr) == ("_bucket{" in expr), where


def test_our_metrics_are_told_from_those_of_others() -> None:
    """Other servers have vllm:* metrics as well."""
    for where, expr in expressions().items():
        for selector in re.findall(r"(?<![\w:])((?:vllm|stageline|ray)[:_][\w:]+)(\{[^}]*\})?", expr):
            assert 'job="stageline' in selector[1], f"{where}: {selector[0]}"


def test_what_each_front_door_tells_of_the_whole_is_not_added_up() -> None:
    """Two front doors see the same replicas."""
    seen_by_all = (
        "ready|variant_replicas|variant_state|variant_quality|variant_preferred|variant_pressed|objective_seconds"
    )
    for where, expr in expressions().items():
        assert not re.search(rf"\bsum\s*(by \([^)]*\)\s*)?\(stageline:({seen_by_all})\b", expr), where


def test_names_of_rules_differ() -> None:
    names = [rule.get("alert") or rule["record"] for rule in rules()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_every_alert_has_a_section(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    page, anchor = alert["annotations"]["runbook"].split("#")
    assert (page, anchor) == ("docs/alerts.md", alert["alert"].lower())
    text = (DOCS / "alerts.md").read_text(encoding="utf-8")
    section = re.search(rf"^### {alert['alert']}\n+(.+?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert "**Do:**" in section[1]


def test_no_section_is_of_an_alert_that_is_gone() -> None:
    found = re.findall(r"^### (\w+)$", (DOCS / "alerts.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(found) == sorted(alert["alert"] for alert in alerts())


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: str(one.uid))
def test_the_dashboard_s_file_is_what_its_program_writes(dashboard: Any) -> None:
    path = COMPONENT / "dashboards" / f"{dashboard.uid}.json"
    assert path.read_text(encoding="utf-8") == text_of(dashboard), "run `python -m deployments.k8s.dashboards`"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: str(one.uid))
def test_panels_have_places_of_their_own(dashboard: Any) -> None:
    panels = json.loads(json.dumps(json_of(dashboard)))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + across, place["y"] + down) for across in range(place["w"]) for down in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_component_takes_every_dashboard() -> None:
    content = yaml.safe_load((COMPONENT / "kustomization.yaml").read_text(encoding="utf-8"))
    (generated,) = content["configMapGenerator"]
    assert generated["files"] == [f"dashboards/{dashboard.uid}.json" for dashboard in DASHBOARDS]
    assert generated["options"]["labels"]["grafana_dashboard"] == "1"


def test_jobs_of_rules_are_those_that_monitors_set() -> None:
    monitors = yaml.safe_load_all((COMPONENT / "pod-monitors.yaml").read_text(encoding="utf-8"))
    jobs = {
        relabelling["replacement"]
        for monitor in monitors
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
        for relabelling in endpoint["relabelings"]
        if relabelling["targetLabel"] == "job"
    }
    used = {job for expr in expressions().values() for job in re.findall(r'job="([^"]+)"', expr)}
    assert used == jobs


def test_what_monitors_drop_is_shown_nowhere() -> None:
    monitors = yaml.safe_load_all((COMPONENT / "pod-monitors.yaml").read_text(encoding="utf-8"))
    endpoints = [endpoint for monitor in monitors for endpoint in monitor["spec"]["podMetricsEndpoints"]]
    changes = [change for endpoint in endpoints for change in endpoint.get("metricRelabelings", ())]
    dropped = [re.compile(change["regex"]) for change in changes if change["action"] == "drop"]
    named = {use.metric for expr in expressions().values() for use in uses(expr)}
    assert dropped
    assert not [name for name in named if any(one.fullmatch(name) for one in dropped)]
