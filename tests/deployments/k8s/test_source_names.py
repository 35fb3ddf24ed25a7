from __future__ import annotations

import re
from pathlib import Path

from deployments.k8s.facts import PACKAGE, ROOT
from deployments.k8s.source_names import metric_names, route_paths, variable_names

CODE = """
from prometheus_client import Counter, Gauge, Histogram
first = Counter("vllm:requests", "Requests.")
second = Gauge("stageline:busy", "Busy.")
third = Histogram("vllm:seconds", "Seconds.")
not_ours = Counter("other:requests", "Requests.")
def counter(name): return Counter(f"vllm:{name}")
fourth = counter("tokens", "Tokens.")
def load_gauges():
    return {"vllm:running": ("Running.", 1)}
def measures():
    return Measures(counters={"stageline:texts": ("Texts.", 1)}, gauges={"vllm:share": ("Share.", 1)})
"""


def test_metrics_are_found_however_they_are_made(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(CODE, encoding="utf-8")
    assert set(metric_names(tmp_path)) == {
        "vllm:requests_total",
        "stageline:busy",
        "vllm:seconds_bucket",
        "vllm:seconds_sum",
        "vllm:seconds_count",
        "vllm:tokens_total",
        "vllm:running",
        "stageline:texts_total",
        "vllm:share",
    }


def test_the_documented_metrics_are_all_found() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `((?:vllm|stageline):\w+)` \| (\w+) \|", text, re.MULTILINE)
    found = set(metric_names(PACKAGE))
    missing = [name for name, kind in documented if (f"{name}_sum" if kind == "histogram" else name) not in found]
    assert len(documented) > 20
    assert missing == []


def test_routes_are_found() -> None:
    assert {"/ready", "/metrics", "/v1/models", "/translate"} <= set(route_paths(PACKAGE / "front_door" / "routes"))


def test_variables_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('os.environ["STAGELINE_ONE"], "NOT_STAGELINE_TWO"', encoding="utf-8")
    assert set(variable_names([tmp_path])) == {"STAGELINE_ONE"}
