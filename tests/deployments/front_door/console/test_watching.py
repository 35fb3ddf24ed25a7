"""What the page makes of looks at the cluster: frames, rates, shares, events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.deployments.front_door.console.scripts import call

BF16 = 'model_name="m",engine="bf16"'
INT8 = 'model_name="m",engine="int8-dynamic"'


def watched(scripts: Page, looks: Sequence[tuple[float, str]], expression: str) -> Any:
    """What `expression` gives after these looks at (seconds, metrics); in it `w` is the watcher."""
    told = [[at_s * 1000, {"models": []}, text] for at_s, text in looks]
    script = f"((w) => {{ for (const look of a[0]) w.take(...look); return {expression}; }})(new m.Watcher())"
    return call(scripts, "watch/watcher.js", script, told)


def counts(bf16: int, int8: int) -> str:
    return (
        f'stageline:variant_decisions_total{{{BF16},reason="objective"}} {bf16}\n'
        f'stageline:variant_decisions_total{{{INT8},reason="objective"}} {int8}\n'
        f"vllm:generation_tokens_total{{{BF16}}} {bf16 * 10}\n"
    )


def test_rates_and_shares(scripts: Page) -> None:
    looks = [(0, counts(5, 5)), (1, counts(9, 6)), (2, counts(9, 11)), (30, counts(9, 11)), (31, counts(9, 11))]
    rates = "w.history.rate('', 0, 'requests').map(([, rate]) => rate)"
    assert watched(scripts, looks[:3], rates) == [None, 5, 5]
    shares = "w.history.shares('m', 0).map(([, one]) => one && [...one])"
    found = watched(scripts, looks, shares)
    assert found[0] is None
    assert found[1] == [["bf16", 0.8], ["int8-dynamic", 0.2]]
    assert dict(found[2]) == {"bf16": 0.4, "int8-dynamic": 0.6}
    assert found[4] is None  # nothing came
    assert watched(scripts, looks, "w.history.rate('other', 0, 'requests').at(-1)[1]") == 0


def test_a_gap_between_looks_is_no_time_of_work(scripts: Page) -> None:
    """A tab that was hidden for a minute does not draw that minute's requests as one second's."""
    looks = [(0, counts(0, 0)), (60, counts(600, 0)), (61, counts(601, 0))]
    assert watched(scripts, looks, "w.history.frames.map((frame) => frame.seconds)") == [0, 0, 1]


def test_quantiles_come_from_what_the_buckets_grew_by(scripts: Page) -> None:
    def buckets(*counted: int) -> str:
        bounds = ("0.1", "0.5", "+Inf")
        name = "vllm:time_to_first_token_seconds_bucket"
        return "".join(f'{name}{{{BF16},le="{le}"}} {n}\n' for le, n in zip(bounds, counted, strict=True))

    looks = [(0, buckets(1000, 1000, 1000)), (1, buckets(1000, 1010, 1010)), (20, buckets(1000, 1010, 1010))]
    values = "w.history.quantile('m', 0, 'first', 0.5).map(([, value]) => value)"
    assert watched(scripts, looks, values) == [None, pytest.approx(0.3), None]


def test_history_ends_after_ten_minutes(scripts: Page) -> None:
    looks = [(float(at), "") for at in range(0, 700, 50)]
    assert watched(scripts, looks, "w.history.frames[0].atMs") == 50_000


def test_replicas_of_several_front_doors_count_once_and_their_requests_add_up(scripts: Page) -> None:
    text = "".join(
        f'stageline:variant_replicas{{{BF16},front_door="{door}"}} 2\n'
        f'stageline:variant_open_requests{{{BF16},front_door="{door}"}} 3\n'
        for door in "ab"
    )
    cell = watched(scripts, [(0, text)], "w.history.last.cells.map((c) => [c.replicas, c.open])")
    assert cell == [[2, 6]]


def state(name: str, replicas: int) -> str:
    states = "".join(
        f'stageline:variant_state{{{BF16},state="{one}"}} {float(one == name)}\n'
        for one in ("ready", "starting", "asleep", "unavailable")
    )
    return f"{states}stageline:variant_replicas{{{BF16}}} {replicas}\n"


def test_what_happened_between_looks(scripts: Page) -> None:
    extra = (
        'stageline:variant_steps_total{model_name="m",from="bf16",to="int8-dynamic",reason="tpot"} 1\n'
        f'stageline:stream_resumptions_total{{{BF16},cause="died"}} 2\n'
        f'stageline:stage_restarts_total{{{BF16},replica="r1",stage="1"}} 1\n'
        f'stageline:stalls_total{{{BF16},what="step"}} 1\n'
        'stageline:stalls_total{model_name="",engine="front-door",what="events"} 1\n'
        f'vllm:admission_rejections_total{{{BF16},reason="overloaded"}} 7\n'
    )
    before = "".join(f"{line.rpartition(' ')[0]} 0\n" for line in extra.splitlines())
    looks = [(0, state("ready", 1) + before), (1, state("unavailable", 0) + extra), (2, state("ready", 1) + extra)]
    found = watched(scripts, looks, "w.events.map((e) => [e.atMs, e.kind, e.words])")
    assert found == [
        [2000, "recovery", "m:bf16 is ready (was unavailable)"],
        [2000, "scale", "m:bf16 has 1 replica (had 0)"],
        [1000, "step", "m: requests go from bf16 to int8-dynamic (tokens would come slowly)"],
        [1000, "recovery", "m:bf16: 2 streams went on at another replica; theirs died"],
        [1000, "recovery", "m:bf16: stage 1 of r1 was replaced"],
        [1000, "fault", "m:bf16: a step hung; the log says where its stacks are"],
        [1000, "fault", "the front door: the event loop hung; the log says where its stacks are"],
        [1000, "fault", "m:bf16: 7 requests refused or given up (overloaded)"],
        [1000, "fault", "m:bf16 is unavailable (was ready)"],
        [1000, "scale", "m:bf16 has 0 replicas (had 1)"],
    ]


def test_a_stage_that_is_lost_and_comes_back(scripts: Page) -> None:
    def status(state: str) -> dict[str, Any]:
        replica = {"stages": [{"index": 0, "state": state}]}
        return {"models": [{"name": "m", "variants": [{"name": "bf16", "replicas": [replica]}]}]}

    script = (
        "((w) => { for (const look of a[0]) w.take(...look); return w.events.map((e) => e.words); })(new m.Watcher())"
    )
    looks = [[at, status(one), ""] for at, one in enumerate(("ready", "lost", "starting", "ready"))]
    name = "m:bf16, replica 1, stage 0"
    assert call(scripts, "watch/watcher.js", script, looks) == [
        f"{name} is ready",
        f"{name} is starting",
        f"{name} is lost",
    ]


def test_a_table_says_what_the_chart_shows(scripts: Page) -> None:
    series = [{"name": "bf16", "points": [[0, 1], [50, 2], [100, None]]}]
    script = "m.tableRows({fromMs: 0, toMs: 100}, a[0], (v) => `${v}`).map((line) => line[1])"
    assert call(scripts, "watch/table.js", script, series) == ["bf16", "–", "2", "2", "2", "2", "2", "1", "1", "1", "1"]
