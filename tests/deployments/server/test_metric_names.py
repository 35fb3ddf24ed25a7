"""Every metric and label that rules and panels name is in a running server, Stageline's and Ray's.

Ray reports what its processes count every ten seconds, so that the first of it takes a while to come."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import httpx
import psutil
import pytest

from tests.deployments.k8s.promql import ADDED, expressions, uses
from tests.deployments.k8s.ray_metrics import RAY
from tests.deployments.k8s.test_monitoring import Labels, labels_in
from tests.deployments.server.running import ROOMY, TIGHT, Server
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.model]

METRICS_PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"

ELSEWHERE = "stageline:api_keys"
"""Only servers with API keys have these; without Ray, `tests/deployments/k8s/test_monitoring.py` sees them."""

UNTIL_IT_HAPPENS = {
    "vllm:admission_rejections_total",
    "stageline:variant_steps_total",
    "stageline:drift_answers_total",
    "stageline:drift_compared_total",
    "stageline:drift_agreed_total",
}
"""Their families are there, without series until the first refusal, step, and comparison."""


def ray_page(server: Server) -> str:
    """The metrics of the server's Ray node; "" while there are none."""
    for process in psutil.Process(server.process.pid).children(recursive=True):
        if "DashboardAgent" not in " ".join(process.cmdline()):
            continue
        for connection in process.net_connections():
            if connection.status == psutil.CONN_LISTEN:
                with contextlib.suppress(httpx.HTTPError):
                    page = httpx.get(f"http://127.0.0.1:{connection.laddr.port}/metrics", timeout=10).text
                    if "# TYPE ray_" in page:
                        return page
    return ""


def page_of(server: Server) -> str:
    """The server's metrics. A pipeline tells of its bubble while there is work."""
    assert server.complete(model=TIGHT, max_tokens=32).status_code == 200
    pages = [""]

    def told() -> bool:
        pages[0] = httpx.get(f"{server.url}/metrics", timeout=30).raise_for_status().text
        return "stageline:pipeline_bubble_ratio{" in pages[0]

    wait_until(told, "the pipeline tells of its work")
    return pages[0]


def test_ours(server: Server) -> None:
    assert server.complete(model=ROOMY, max_tokens=3).status_code == 200
    for path, body in (
        ("/classify", {"model": "intents", "input": "a"}),
        ("/translate", {"q": "A man.", "source": "en", "target": "de"}),
    ):
        assert httpx.post(f"{server.url}{path}", json=body, timeout=60).status_code == 200
    text = page_of(server)
    found = labels_in(text)
    for where, expr in expressions().items():
        for use in uses(expr):
            if not use.metric.startswith(("vllm:", "stageline:")) or use.metric.startswith(ELSEWHERE):
                continue
            if use.metric in UNTIL_IT_HAPPENS and use.metric not in found:
                assert f"# TYPE {use.metric} counter" in text, where
                continue
            assert use.metric in found, where
            assert use.labels - ADDED <= found[use.metric], where


def test_the_documentation_lists_what_there_is(server: Server) -> None:
    """By name and kind; of what only servers with API keys have, the names alone are known here."""
    listed = dict(re.findall(r"^\| `([\w:]+)` \| (\w+) \|", METRICS_PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    text = page_of(server)
    found = {
        f"{name}_total" if kind == "counter" else name: kind
        for name, kind in re.findall(r"^# TYPE (\S+?)(?:_total)? (\w+)$", text, re.MULTILINE)
        if name.startswith(("vllm:", "stageline:")) and not name.endswith("_created")
    }
    # (A histogram may well have a name that ends so.)
    found["vllm:iteration_tokens_total"] = found.pop("vllm:iteration_tokens")
    assert {name: kind for name, kind in listed.items() if not name.startswith(ELSEWHERE)} == found


def test_rays(server: Server) -> None:
    assert server.complete(model=ROOMY, max_tokens=3).status_code == 200

    def missing() -> Labels:
        found = labels_in(ray_page(server))
        return {name: labels for name, labels in RAY.items() if name not in found or not labels <= found[name]}

    wait_until(lambda: not missing(), "Ray does not report all metrics")
