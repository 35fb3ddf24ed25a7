from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from loadtest import machine as module
from loadtest.machine import commit, machine


def test_the_commit_is_the_checkouts_own_and_not_one_around_it(tmp_path: Path) -> None:
    inside = tmp_path / "project" / "environment" / "loadtest"
    inside.mkdir(parents=True)
    git = ["git", "-C", str(tmp_path / "project"), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True, timeout=30)
    assert commit(inside) == "unknown"
    own = tmp_path / "project" / "loadtest"
    own.mkdir()
    assert len(commit(own).rstrip("+")) >= 10


def test_the_processors_instructions_for_integers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "model name\t: a processor\nflags\t\t: fpu avx2 avx512f avx512_vnni avx_vnni\n"
    monkeypatch.setattr(Path, "read_text", lambda self, *_: lines)
    assert module.processor() == "a processor avx2 avx512f avx_vnni avx512_vnni"


@pytest.mark.parametrize(("limit", "cores"), [("150000 100000", 2), ("max 100000", 4), ("900000 100000", 4)])
def test_cores_are_what_a_container_may_use(monkeypatch: pytest.MonkeyPatch, limit: str, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(Path, "read_text", lambda self, *_: limit)
    assert module.cores() == cores


def test_versions_are_those_that_are_installed() -> None:
    assert machine(["pytest"])["pytest"] == pytest.__version__
