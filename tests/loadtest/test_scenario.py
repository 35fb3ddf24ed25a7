from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.errors import LoadTestError
from loadtest.scenario import SCENARIOS, Closed, Open, load_scenario


def write(folder: Path, text: str) -> Path:
    path = folder / "one.yaml"
    path.write_text(text)
    return path


def test_a_file_is_read_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
name: mixed
requests:
  - {kind: chat, model: m, prompt_tokens: {low: 1, high: 3}}
  - {kind: classify, model: c, texts: mine.txt}
load: {arrivals: trace, trace: mine.jsonl}
objective: {ttft_ms: {p99: 500}}
""",
    )
    found = load_scenario(path)
    assert isinstance(found.load, Open)
    assert found.load.trace == tmp_path / "mine.jsonl"
    assert found.requests[1].texts == tmp_path / "mine.txt"
    assert found.objective.ttft_ms.p99 == 500


def test_paths_are_absolute_from_wherever_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenario is written anew into another folder, for the client."""
    write(
        tmp_path,
        "name: x\nrequests: [{kind: classify, model: c, texts: mine.txt}]\nload: {arrivals: trace, trace: mine.jsonl}",
    )
    monkeypatch.chdir(tmp_path)
    found = load_scenario(Path("one.yaml"))
    assert isinstance(found.load, Open)
    assert (found.load.trace, found.requests[0].texts) == (tmp_path / "mine.jsonl", tmp_path / "mine.txt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nrequests: [{kind: chat, model: m}]\nload: {users: 1}\nwarmup: 3", "warmup"),
        ("name: x\nrequests: []\nload: {users: 1}", "requests"),
        ("name: x\nrequests: [{kind: chant, model: m}]\nload: {users: 1}", "kind"),
        ("name: x\nrequests: [{kind: chat, model: m}]\nload: {arrivals: poisson}", "rate or phases"),
        ("name: x\nrequests: [{kind: chat, model: m}]\nload: {arrivals: trace, rate: 3}", "trace"),
        ("name: x\nrequests: [{kind: chat, model: m, prompt_tokens: {low: 5, high: 3}}]\nload: {users: 1}", "above"),
        ("name: x\nrequests: [{kind: chat, model: m}]\nload: {arrivals: poisson, rate: 3, burstiness: 0.5}", "gamma"),
        (
            "name: x\nrequests: [{kind: chat, model: m}]\nload: {arrivals: poisson, phases: [{seconds: 9, rate: 1}]}",
            r"one\.yaml: Value error, the phases last 9 s, but warm_up_s and duration_s 65 s",
        ),
        ("name: ../x\nrequests: [{kind: chat, model: m}]\nload: {users: 1}", "name"),
        ("]", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(LoadTestError, match=words):
        load_scenario(write(tmp_path, text))


def test_ours_are_found_by_name_and_listed_where_a_name_is_wrong() -> None:
    names = sorted(path.stem for path in SCENARIOS.glob("*.yaml"))
    assert names
    for name in names:
        assert load_scenario(Path(name)).name == name
    with pytest.raises(LoadTestError, match=names[0]):
        load_scenario(Path("no-such-scenario"))


def test_phases_of_the_scenarios_last_as_long_as_they() -> None:
    for path in SCENARIOS.glob("*.yaml"):
        found = load_scenario(path)
        if isinstance(found.load, Closed) or not found.load.phases:
            continue
        assert sum(one.seconds for one in found.load.phases) == pytest.approx(found.total_s)
