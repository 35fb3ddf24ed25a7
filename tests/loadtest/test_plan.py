from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadtest.errors import LoadTestError
from loadtest.plan import fingerprint, prepared, refusal
from loadtest.scenario import Closed, Load, Open, Requests, Scenario


def scenario(load: Load, **more: Any) -> Scenario:
    return Scenario(name="s", requests=(Requests(kind="classify", model="m", **more),), load=load)


def traced(folder: Path, at_s: float, text: str = "a") -> Scenario:
    folder.mkdir()
    (folder / "trace.jsonl").write_text(f'{{"at_s": {at_s}}}\n')
    (folder / "texts.txt").write_text(text)
    return scenario(Open(arrivals="trace", trace=folder / "trace.jsonl"), texts=folder / "texts.txt")


def test_the_same_work_is_known_wherever_its_files_lie(tmp_path: Path) -> None:
    one, same = traced(tmp_path / "a", 1.0), traced(tmp_path / "b", 1.0)
    later, other = traced(tmp_path / "c", 2.0), traced(tmp_path / "d", 1.0, "b")
    found = [fingerprint(each, prepared(each)) for each in (one, same, later, other)]
    found.append(fingerprint(one.model_copy(update={"seed": 1}), prepared(one)))
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_what_cannot_be_read_is_said_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="trace cannot be read"):
        prepared(scenario(Open(arrivals="trace", trace=tmp_path / "absent")))
    with pytest.raises(LoadTestError, match="texts cannot be read"):
        prepared(scenario(Closed(users=1), texts=tmp_path / "absent"))
    assert len(prepared(scenario(Open(arrivals="constant", rate=1)))) == 64
    assert prepared(scenario(Closed(users=1))) == []


@pytest.mark.parametrize(
    ("load", "workers", "refused"),
    [
        (Closed(users=1, requests=10), 2, True),
        (Closed(users=3, requests=10), 2, True),
        (Closed(users=4, requests=10), 2, False),
        (Closed(users=1, requests=10), 1, False),
        (Closed(users=1), 2, False),
        (Open(arrivals="poisson", rate=1), 2, False),
    ],
)
def test_users_share_their_requests_evenly_or_not_at_all(load: Load, workers: int, refused: bool) -> None:
    assert bool(refusal(scenario(load), workers)) == refused
