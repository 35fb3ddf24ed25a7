from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Literal

import pytest

from loadtest.agreement.figures import Figures
from loadtest.agreement.rounds import WARM_UP, Client, run_one
from loadtest.agreement.work import Streams, Work
from loadtest.errors import LoadTestError
from tests.loadtest.conftest import Timed

SAID = Figures(100.0, 200.0, 10.0, 10.0, 50.0, 2.0, completed=9, failed=0, version="1")


def ask(work: Work) -> None:
    body = json.dumps({"model": work.model, "max_tokens": 4, "prompt": "a b"}).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{work.url}/v1/completions", body, headers), timeout=30
    ) as told:
        told.read()


@pytest.mark.parametrize(("kind", "path"), [("completions", "/v1/completions"), ("chat", "/v1/chat/completions")])
def test_the_server_is_warm_before_a_client_runs_and_the_wire_sees_the_client_alone(
    kind: Literal["completions", "chat"], path: str, timed_server: Timed
) -> None:
    seen = []

    def run(work: Work, program: str, folder: Path) -> Figures:
        seen.append(timed_server.truth())
        assert list(folder.iterdir()) == []
        assert work.url != timed_server.url
        ask(work)
        return SAID

    work = Work(timed_server.url, "ttft=0,gap=0", Streams(1), kind)
    found = run_one(Client("a", "a", run), work)
    assert found.said is SAID
    assert (found.wire.completed, found.wire.failed) == (1, 0)
    assert [one["path"] for one in seen[0]] == [path] * WARM_UP


@pytest.mark.parametrize(("model", "says"), [("status=503", "answers 503"), ("", "does not answer")])
def test_a_server_that_cannot_answer_is_told_at_once(model: str, says: str, timed_server: Timed) -> None:
    url = timed_server.url if model else "http://127.0.0.1:9"
    with pytest.raises(LoadTestError, match=says):
        run_one(Client("a", "a", lambda *_: SAID), Work(url, model, Streams(1)))
