from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deployments.attacks import registry
from deployments.attacks.honest import Heard, ratios, requests_for
from deployments.attacks.outcome import Outcome
from deployments.attacks.raw import request, statuses
from deployments.attacks.registry import ATTACKS, Listed, chosen
from deployments.attacks.run import make_attacks, table_of
from deployments.attacks.scene import Scene
from deployments.cli import app


def test_attacks_have_names_of_their_own_and_one_way_to_be_made() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert all((attack.alone is None) != (attack.at_server is None) for attack in ATTACKS)
    assert chosen(["wheels"]) == [next(one for one in ATTACKS if one.name == "wheels")]
    assert chosen([]) == list(ATTACKS)


def _fails() -> Outcome:
    raise ValueError("no")


def test_what_is_made_is_told_and_a_fault_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    attacks = [
        Listed("good", "does", "expects", alone=lambda: Outcome(seen={"mib": [1, 2], "open_files": [3, 4]})),
        Listed("bad", "does", "expects", alone=lambda: Outcome(faults=["a fault"])),
        Listed("broken", "does", "expects", alone=_fails),
        Listed("away", "does", "expects", alone=lambda: Outcome(skipped="not installed")),
    ]
    result = make_attacks(attacks, Console(quiet=True), None, None)
    assert [one["verdict"] for one in result["attacks"]] == ["held", "FAILED", "FAILED", "skipped"]
    assert result["failed"] == 2
    assert table_of(result).row_count == 4


@pytest.mark.parametrize(("faults", "status"), [([], 0), (["lost"], 1)])
def test_the_command_ends_with_1_for_a_fault(faults: list[str], status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Listed("made", "does", "expects", alone=lambda: Outcome(faults=list(faults)))
    monkeypatch.setattr(registry, "ATTACKS", (made,))
    found = CliRunner().invoke(app, ["attack", "--only", "made"])
    assert found.exit_code == status
    told: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    assert told["attacks"][0]["faults"] == faults
    assert "made: does Expected: expects." in CliRunner().invoke(app, ["attack", "--list"]).stdout


def test_an_attack_that_is_not_known_is_a_mistake_in_the_call() -> None:
    error = CliRunner().invoke(app, ["attack", "--only", "nothing"]).exception
    assert "there are texts, readers" in str(error)


def test_ratios_are_of_medians_of_what_was_answered() -> None:
    before = Heard([("/a", 0.0, 1.0, ""), ("/a", 1.0, 3.0, ""), ("/a", 2.0, 2.0, "")])
    during = Heard([("/a", 5.0, 4.0, ""), ("/a", 6.0, 9.0, "status 500")])
    assert ratios(before, during) == {"/a": 2.0}
    assert during.faults() == ["/a: status 500"]
    assert during.between(5.5, 9.0).answers == [("/a", 6.0, 9.0, "status 500")]
    assert len(requests_for({"translation": "t"})) == 1


def test_requests_go_over_the_wire_as_they_are_said_to() -> None:
    scene = Scene("http://127.0.0.1:9", {"text-generation": "m"}, headers={"Authorization": "Bearer k"})
    data = request(scene, body=b"{}", headers={"Content-Length": "7"})
    assert data.startswith(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:9\r\n")
    assert b"\r\nContent-Length: 7\r\n" in data
    assert b"\r\nAuthorization: Bearer k\r\n" in data
    assert data.endswith(b"\r\n\r\n{}")
    assert statuses(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 408 Late\r\n\r\n") == [200, 408]
