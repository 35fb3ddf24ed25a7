"""`stageline why` against an operators' port over a fake engine."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from typer.testing import CliRunner

from cluster.pipeline.state import Meanwhile, Shares
from deployments.cli import app
from deployments.cli.why_view import BAR, bar
from deployments.front_door.admin import create_admin_app
from deployments.front_door.app import create_app
from deployments.front_door.trail.record import Call, Record, Visit
from deployments.load import Load, StepCost
from deployments.variants import VariantInfo
from engine.request import Timings
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.servers import serving

run = CliRunner().invoke


def complete(url: str, name: str) -> None:
    body = {"model": "tiny", "prompt": "Hi", "max_tokens": 3, "min_quality": 0.95}
    httpx.post(f"{url}/v1/completions", json=body, headers={"X-Request-Id": name}, timeout=30).raise_for_status()


async def stages(key: tuple[str, str], replica: str, start_s: float, end_s: float) -> list[Meanwhile]:
    """Only the replica "second" is a pipeline."""
    if replica != "second":
        return []
    return [Meanwhile(0, "0-9", Shares(0.31, 0.6, 0.02, 1.0)), Meanwhile(1, "10-29", Shares(0.93, 0.04, 0.03, 1.0))]


@pytest.fixture(scope="module")
def operators() -> Iterator[str]:
    """Where operators ask: of requests "quick", "odd [name]", and "lost", which two replicas had."""
    variants = (
        VariantInfo("fp32", retained=1.0, measured=True),
        VariantInfo("bf16", retained=1.0),
        VariantInfo("int8-dynamic", retained=0.9),
    )
    door = create_app(make_service(FakeEngine(), variants=variants, stages=stages))
    router = door.state.door.service.models["tiny"].router
    router.hear("fp32", [Load("r", cost=StepCost(0.5, 0.01), places=320, slots=64, step_tokens=512, output_tokens=20)])
    with serving(door) as url:
        complete(url, "quick")
        complete(url, "a/b")
    lost = Record("lost", "POST", "/v1/completions", arrived_s=1.8e9, arrived=100, model="tiny", task="text-generation")
    lost.read, lost.choosing, lost.chosen, lost.ended, lost.status = 100, 100, 100.1, 104, 200
    lost.missed, lost.trace = ("ttft",), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    lost.calls = [
        Call(1, [Visit(100.1, "first[1]", 100.1, 100.5, 101, 17, cause="died"), Visit(101, "second", 101, 103, 104, 5)])
    ]
    lost.calls[0].visits[1].timings = Timings(2.8, 0.2, 1.0)
    door.state.door.ring.begin(lost)
    door.state.door.ring.end(lost)
    with serving(create_admin_app(door.state.door)) as url:
        yield url


def why(operators: str, *arguments: str) -> str:
    result = run(app, ["why", *arguments, "--url", operators], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_request_is_told_in_words(operators: str) -> None:
    text = why(operators, "quick")
    assert "tiny:bf16" in text
    assert "ok 200" in text
    assert "Passed over, though better: fp32." in text
    assert "too slow: first token in" in text
    assert "its share of the quality is 0.9, and 0.95 was asked for" in text
    for part in ("Where the time went", "choosing the variant", "What took most of it", "2 tokens in, 3 out"):
        assert part in text


def test_in_80_columns_figures_stay_whole(operators: str) -> None:
    result = run(app, ["why", "lost", "--url", operators], env={"COLUMNS": "80"}, catch_exceptions=False)
    times = result.output.partition("Where the time went")[2].partition("What took most of it")[0]
    assert "queue" in times
    assert "1.8 s" in times
    assert "\u2026" not in times


def test_replicas_that_were_lost(operators: str) -> None:
    text = why(operators, "lost")
    assert "slow" in text.splitlines()[0]
    assert "trace 4bf92f3577b34da6a3ce929d0e0e4736" in text
    assert "Waited 1.8 s for a place in the engine." in text
    assert "Replica first[1] died after 17 tokens." in text
    replicas = text.partition("Which replicas had it")[2]
    assert "first[1]" in replicas
    assert "died" in replicas
    assert "second" in replicas


def test_stages_of_the_replica_that_had_it(operators: str) -> None:
    text = why(operators, "lost")
    assert "stage 1 (layers 10-29) computed 93% of the time" in text
    _, _, stages = text.partition("What its stages did meanwhile")
    assert "█" in stages
    assert [line.split()[-3:] for line in stages.splitlines()[-2:]] == [["31%", "60%", "2%"], ["93%", "4%", "3%"]]
    assert "stages" not in why(operators, "quick")


def test_as_json(operators: str) -> None:
    assert json.loads(why(operators, "a/b", "--json"))["id"] == "a/b"
    assert [one["id"] for one in json.loads(why(operators, "--json", "--slow"))] == ["lost"]


def test_lists(operators: str) -> None:
    text = why(operators)
    assert all(name in text for name in ("quick", "a/b", "lost"))
    assert "quick" not in why(operators, "--slow")
    assert "resumed 1x" in why(operators, "--slow")
    assert why(operators, "--failed") == "No failed request is remembered.\n"
    assert why(operators, "--open", "--model", "other") == "No open request is remembered.\n"
    assert why(operators, "--limit", "1").count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "No request 'nobody' is remembered"),
        (["quick", "--slow"], "A request id names one request"),
        (["--slow", "--failed"], "Choose one of"),
    ],
)
def test_what_cannot_be_told(operators: str, arguments: list[str], message: str) -> None:
    error = run(app, ["why", *arguments, "--url", operators]).exception
    assert message in str(error)


def test_nobody_answers() -> None:
    error = run(app, ["why", "x", "--url", "http://127.0.0.1:9"]).exception
    assert "Nothing answers operators at http://127.0.0.1:9" in str(error)


def test_an_answer_of_something_else(engine_page: str) -> None:
    error = run(app, ["why", "x", "--url", engine_page]).exception
    assert f"{engine_page} is no address for operators: it has no admin/requests/x." in str(error)


@pytest.fixture
def engine_page() -> Iterator[str]:
    """A public port, by mistake."""
    with serving(create_app(make_service(FakeEngine()))) as url:
        yield url


def test_bars() -> None:
    assert bar(0, 1) == "█" * BAR
    assert bar(0.5, 0.5) == " " * (BAR // 2) + "█" * (BAR // 2)
    assert bar(0.999, 0.001) == " " * (BAR - 1) + "▏"
    assert all(len(bar(start / 50, share / 50)) == BAR for start in range(51) for share in range(51))
