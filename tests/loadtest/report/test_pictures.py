"""Pictures: that what is measured is what is drawn. How they look, a person has seen."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from loadtest.errors import LoadTestError
from loadtest.report import curve, distributions, pictures, timeline
from loadtest.report.curve import Point, draw_curve
from loadtest.report.distributions import draw_distributions
from loadtest.report.folder import Mark, Run, read_run
from loadtest.report.timeline import draw_timeline
from loadtest.scenario import Objective
from loadtest.summary import summarize
from tests.loadtest.synthetic import make_run, mixed, records


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(make_run(tmp_path_factory.mktemp("run")))


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "DPI", 40)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Figures that were saved."""
    found: list[Any] = []

    def keep(figure: Any, path: Path) -> None:
        found.append(figure)
        pictures.save(figure, path)

    for module in (curve, distributions, timeline):
        monkeypatch.setattr(module, "save", keep)
    return found


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def labels(figure: Any) -> list[str]:
    return [axis.get_ylabel() for axis in figure.axes]


def test_the_curve_of_a_distribution_goes_through_its_percentiles(drawn: list[Any], tmp_path: Path) -> None:
    measured = [one for one in records() if one.scheduled_s >= 10]
    assert draw_distributions(measured, mixed().objective, "t", tmp_path / "d.png")
    assert is_png(tmp_path / "d.png")
    ttft, _, e2e = drawn[0].axes
    line = ttft.lines[0]
    found = summarize(records(), mixed()).kinds["chat"].latencies["ttft"]
    assert np.interp(0.99, line.get_ydata(), line.get_xdata()) == pytest.approx(found.p99.value, rel=0.02)
    told = [text.get_text() for text in ttft.get_legend().get_texts()]
    assert told[0] == f"chat: p50 {found.p50.value:.0f}, p90 {found.p90.value:.0f}, p95 {found.p95.value:.0f}, " \
                      f"p99 {found.p99.value:.0f}"  # fmt: skip
    assert told[1:] == ["promised: p50 at most 300 ms", "promised: p99 at most 1500 ms", "goodput: within 1000 ms"]
    assert ttft.get_xscale() == "log"
    assert len(e2e.get_legend().get_texts()) == 2, "chats and classifications"


def test_a_timeline_has_what_there_is(drawn: list[Any], run: Run, tmp_path: Path) -> None:
    assert draw_timeline(run, 10, 110, "t", tmp_path / "t.png")
    assert is_png(tmp_path / "t.png")
    assert labels(drawn[0]) == [
        "", "time to first token, ms", "time to the answer, ms", "requests/s", "tokens/s", "texts/s",
        "requests in\nthe server", "KV cache, %", "replicas ready", "stages ready",
    ]  # fmt: skip
    strip, ttft, *_ = drawn[0].axes
    assert [text.get_text().strip() for text in strip.texts] == ["a step of load", "a node is gone", "streams resumed"]
    dots = {one.get_label(): len(one.get_offsets()) for one in ttft.collections if one.get_label()[0] != "_"}
    complete = [one for one in records() if one.kind == "chat" and not one.failure]
    assert dots == {
        f"smollm2 {variant}": sum(one.variant == variant for one in complete) for variant in ("bf16", "int8-dynamic")
    }
    assert "failed (16)" in [line.get_label() for line in ttft.lines]
    replicas = next(line for line in drawn[0].axes[-2].lines if line.get_label() == "smollm2 int8-dynamic")
    count = dict(zip(*replicas.get_data(), strict=True))
    assert [round(count[second]) for second in (30.0, 50.0, 60.0, 65.0)] == [0, 1, 2, 1]


def test_a_timeline_has_what_the_server_told_of_its_load(drawn: list[Any], run: Run, tmp_path: Path) -> None:
    """Requests of all models together; each cache for itself, in the colours of those that answered."""
    assert draw_timeline(run, 10, 110, "t", tmp_path / "t.png")
    ttft, requests, cache = (drawn[0].axes[index] for index in (1, 6, 7))
    assert {line.get_label(): list(line.get_ydata())[60] for line in requests.lines if line.get_label()[0] != "_"} == {
        "run": 3.0,
        "wait": 5.0,
    }
    lines = {line.get_label(): line for line in cache.lines if line.get_label()[0] != "_"}
    assert {name: line.get_ydata()[60] for name, line in lines.items()} == {"smollm2 bf16": 40.0, "other/0": 20.0}
    dots = next(one for one in ttft.collections if one.get_label() == "smollm2 bf16")
    assert to_hex(dots.get_facecolor()[0]) == lines["smollm2 bf16"].get_color()


def test_requests_for_a_variant_by_name_are_the_models(drawn: list[Any], run: Run, tmp_path: Path) -> None:
    asked = tuple(replace(one, model="smollm2:bf16") for one in run.records if one.variant == "bf16")
    draw_timeline(replace(run, records=(*asked, replace(asked[0], model="llama:8b"))), 10, 110, "t", tmp_path / "t.png")
    dots = {one.get_label(): len(one.get_offsets()) for one in drawn[0].axes[1].collections}
    assert (dots["smollm2 bf16"], dots["llama:8b bf16"]) == (len(asked), 1)


def test_a_timeline_of_texts_alone_has_no_tokens_and_no_server(drawn: list[Any], run: Run, tmp_path: Path) -> None:
    texts = tuple(one for one in run.records if one.kind == "classify")
    assert draw_timeline(replace(run, records=texts, samples=(), marks=()), 10, 110, "t", tmp_path / "t.png")
    assert labels(drawn[0]) == ["time to the answer, ms", "requests/s", "texts/s"]


def test_odd_runs_can_be_drawn(run: Run, tmp_path: Path) -> None:
    """Nothing complete, nothing told of the server; many marks at once, with what matplotlib takes for mathematics."""
    refused = replace(run.records[0], failure="503", first_s=None, end_s=None)
    odd = Run(
        run.scenario,
        run.about,
        (refused,),
        ({"at_s": 1.0, "models": [], "metrics": {}},),
        tuple(Mark(50 + number / 10, None, rf"mark {number} $\frac$") for number in range(12)),
    )
    assert draw_timeline(odd, 10, 110, r"t $\x$", tmp_path / "t.png")
    assert not draw_distributions(odd.records, Objective(), "t", tmp_path / "d.png")
    named = replace(run.records[0], variant=r"$\frac{$")
    assert draw_timeline(replace(odd, records=(named,)), 10, 110, r"$\y$", tmp_path / "t.png")
    assert draw_distributions(run.records[:1], Objective(), r"$\y$", tmp_path / "d.png")


def test_nothing_is_not_drawn(run: Run, tmp_path: Path) -> None:
    assert not draw_timeline(replace(run, records=()), 10, 110, "t", tmp_path / "t.png")
    assert not draw_distributions([], Objective(), "t", tmp_path / "d.png")
    assert not draw_curve([], tmp_path / "c.png")
    assert not draw_curve([Point("1/s", summarize([], mixed()), True)], tmp_path / "c.png")
    assert list(tmp_path.iterdir()) == []


def test_a_curve_is_in_order_of_throughput(drawn: list[Any], tmp_path: Path) -> None:
    half = summarize(records()[::2], mixed())
    points = [Point("all", summarize(records(), mixed()), False), Point("half", half, True)]
    assert draw_curve(points, tmp_path / "c.png", mixed().objective, "curve")
    assert is_png(tmp_path / "c.png")
    ttft = drawn[0].axes[0]
    assert labels(drawn[0]) == ["TTFT, ms", "TPOT, ms", "E2E, ms"]
    assert ttft.get_xlabel() == "output tokens/s"
    line = next(line for line in ttft.lines if str(line.get_label()).startswith("p50"))
    assert list(line.get_xdata()) == [half.overall.output_tokens_per_s, points[0].summary.overall.output_tokens_per_s]
    assert [text.get_text() for text in ttft.texts] == ["half", "all"]
    assert "p50, objective not kept" in [text.get_text() for text in ttft.get_legend().get_texts()]


def test_without_matplotlib_a_picture_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LoadTestError, match=r"stageline\[load\]"):
        draw_distributions(records(), Objective(), "t", tmp_path / "d.png")


def test_bins_are_round() -> None:
    assert [pictures.bin_width(seconds) for seconds in (10, 60, 110, 600, 3600)] == [0.5, 1, 2, 10, 60]
