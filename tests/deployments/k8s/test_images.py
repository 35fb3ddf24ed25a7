"""The images' Dockerfiles: what linters say, and what they share with the rest of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from deployments.k8s.image_trial.context import left_out, patterns_of
from deployments.k8s.image_trial.steps import Settings, Stage, command_of, stages_of, take

ROOT = Path(__file__).parents[3]
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
DOCKERFILES = sorted((ROOT / "k8s" / "images").glob("*/Dockerfile"))
each = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: str(path.parent.name))


def final(dockerfile: Path) -> tuple[Stage, Settings]:
    """The stage that becomes the image, and what it sets. (Those before it set nothing that lasts.)"""
    stage = stages_of(dockerfile.read_text(encoding="utf-8"), {})[-1]
    settings = Settings()
    for step in stage.steps:
        take(step, settings, {})
    return stage, settings


def only(stage: Stage, name: str) -> str:
    (step,) = [step for step in stage.steps if step.name == name]
    return step.rest


def test_there_are_two() -> None:
    assert [path.parent.name for path in DOCKERFILES] == ["cpu", "cuda"]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
@each
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, str(dockerfile)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@each
def test_nobody_special_runs_it(dockerfile: Path) -> None:
    stage, settings = final(dockerfile)
    assert settings.user == "10001:10001"
    assert settings.environment["PATH"].startswith("/opt/stageline/bin:")
    assert settings.environment["STAGELINE_CACHE"] == "/var/cache/stageline"
    assert settings.folder == settings.environment["HOME"]
    assert only(stage, "EXPOSE") == "8000"
    assert "/ready" in " ".join(command_of(only(stage, "HEALTHCHECK")))


@each
def test_the_version_is_the_project_s(dockerfile: Path) -> None:
    _, settings = final(dockerfile)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert settings.arguments["VERSION"] == project["version"]


@each
def test_the_base_is_a_full_version(dockerfile: Path) -> None:
    stage = stages_of(dockerfile.read_text(encoding="utf-8"), {})[0]
    assert re.fullmatch(r"debian:\d+\.\d+-slim(@sha256:[0-9a-f]{64})?", stage.source)
    assert f"docker.io/library/{stage.source.partition('@')[0]}" in only(final(dockerfile)[0], "LABEL")


@each
def test_what_serving_load_tests_and_traces_need_is_installed(dockerfile: Path) -> None:
    """By the line that lists it, as the build runs it."""
    (line,) = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if "tomllib" in line]
    code = line.partition("-c '")[2].partition("'")[0]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    names = {re.split(r"[^a-z0-9-]", one.lower())[0] for one in done.stdout.splitlines()}
    assert {"ray", "locust", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"} <= names
    assert not {"pytest", "ruff"} & names


def test_both_differ_only_in_torch_and_words() -> None:
    """What is mended in one is mended in the other."""
    texts = [path.read_text(encoding="utf-8") for path in DOCKERFILES]
    cpu, cuda = ([line for line in text.splitlines() if not line.startswith("#")] for text in texts)
    compared = SequenceMatcher(None, cpu, cuda, autojunk=False).get_opcodes()
    assert [(cpu[a:b], cuda[c:d]) for what, a, b, c, d in compared if what != "equal"] == [
        (["ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu"], ["ARG TORCH_INDEX=none"]),
        (
            ["    RAY_USAGE_STATS_ENABLED=0"],
            ["    RAY_USAGE_STATS_ENABLED=0 \\", "    NVIDIA_DRIVER_CAPABILITIES=compute,utility"],
        ),
        (
            ['LABEL org.opencontainers.image.title="Stageline" \\'],
            ['LABEL org.opencontainers.image.title="Stageline for CUDA" \\'],
        ),
    ]


def test_the_build_sees_what_it_copies_and_little_else() -> None:
    patterns = patterns_of((ROOT / ".dockerignore").read_text(encoding="utf-8"))
    seen = ("constraints.txt", "pyproject.toml", "engine/kernels/csrc/amx.h", "loadtest/scenarios/chat.yaml")
    assert not [path for path in (*seen, "deployments/demo/en-de/model.safetensors") if left_out(path, patterns)]
    unseen = (".git/config", ".venv/bin/python", "docs/api.md", "engine/__pycache__/a.pyc", "loadtest/results/a/b.json")
    assert all(left_out(path, patterns) for path in unseen)


def test_torch_s_constraints_suit_both_builds() -> None:
    """The CUDA build of torch wants one version of Triton, so that no other may be pinned."""
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split())
    assert (pinned["torch"], pinned["triton"]) == ("2.13.0", "3.7.1")
