from __future__ import annotations

import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from deployments.serving import (
    MOST_CONNECTIONS,
    base_url,
    last_words,
    local_environment,
    most_connections,
    serve_switches,
    why_failed,
)
from deployments.settings import Http


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("example.org", "http://example.org:8000"),
    ],
)
def test_the_address_to_reach_the_front_door(host: str, expected: str) -> None:
    assert base_url(Http(host=host)) == expected


def test_two_nodes_share_no_port_and_no_file() -> None:
    first, second = (local_environment(Path(f"/tmp/stageline-{name}")) for name in ("a", "b"))
    own = {name for name in first if name.endswith(("_PORT", "_LOC", "_PATH", "_BASE", "_FILE"))}
    own -= set(serve_switches())
    assert len(own) == 10
    assert all(first[name] != second[name] for name in own)


@pytest.mark.parametrize(("files", "expected"), [(20_000, 7_600), (1 << 20, MOST_CONNECTIONS), (1024, 100)])
def test_haproxy_takes_no_more_connections_than_it_may_have_files(
    files: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, files))
    assert most_connections() == expected
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, resource.RLIM_INFINITY))
    assert most_connections() == MOST_CONNECTIONS


def test_haproxy_is_left_out_where_its_socket_could_not_be_made() -> None:
    switch = "RAY_SERVE_ENABLE_HA_PROXY"
    assert switch in serve_switches()
    assert switch in local_environment(Path("/tmp/stageline-abcdefgh"))
    assert switch not in local_environment(Path("/var/folders/a-rather-long-name/T/stageline-abcdefgh"))


TRACEBACK = """Failed to update the deployments ['m--bf16']:
Traceback (most recent call last):
  File "/x/replica.py", line 61, in __init__
    raise CheckpointError("m.gguf ends early: fetch it again.")
engine.errors.CheckpointError: m.gguf ends early: fetch it again.
"""


def test_of_a_failed_start_the_reason_is_told() -> None:
    assert last_words(TRACEBACK) == "m.gguf ends early: fetch it again."
    assert last_words("RuntimeError: boom\n") == "RuntimeError: boom"
    assert last_words("") == "no reason given"
    died = "The actor died unexpectedly before finishing this task.\n\tclass_name: A\n\tpid: 5\n\tip: 192.0.2.2\n"
    assert last_words(died) == "The actor died unexpectedly before finishing this task."


def overview(status: str, **deployments: str) -> ApplicationStatusOverview:
    """An application with deployments in these states."""
    told: Any = {name: SimpleNamespace(status=one, message=f"{name} is {one}") for name, one in deployments.items()}
    return ApplicationStatusOverview(ApplicationStatus(status), "the application's words", 0.0, told)


def test_whether_an_application_has_failed_is_its_own_word() -> None:
    assert why_failed(overview("DEPLOYING", a="UNHEALTHY", b="HEALTHY")) is None, "those of the one that it replaces"
    assert why_failed(overview("RUNNING", a="HEALTHY")) is None
    failed = why_failed(overview("DEPLOY_FAILED", a="HEALTHY", b="DEPLOY_FAILED"))
    assert failed == "b could not start: b is DEPLOY_FAILED"
    assert why_failed(overview("UNHEALTHY", a="UNHEALTHY")) == "a could not start: a is UNHEALTHY"
    assert why_failed(overview("DEPLOY_FAILED")) == "Serve could not start the application: the application's words"
