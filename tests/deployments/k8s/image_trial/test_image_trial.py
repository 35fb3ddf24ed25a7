"""A small Dockerfile, done in a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deployments.k8s.image_trial.build import build
from deployments.k8s.image_trial.context import left_out, patterns_of
from deployments.k8s.image_trial.places import Folder
from deployments.k8s.image_trial.steps import Settings, pairs, stages_of, steps_of, take

DOCKERFILE = """\
# Two stages.
ARG BASE=debian:12.15-slim
FROM ${BASE} AS base
RUN apt-get update \\
 && apt-get install --yes something

FROM base AS builder
ARG WORD=none
ENV GREETING="hello  there" PLACE=/opt/it
WORKDIR /build
COPY a.txt kept ./
RUN mkdir -p /opt/it && \\
    # a comment between them
    echo "$GREETING, $WORD" > /opt/it/said && ls > ${PLACE}/listed

FROM base
COPY --from=builder /opt/it /opt/it
ENV PATH=/opt/it:$PATH
USER 10001:10001
HEALTHCHECK --interval=5s CMD ["cat", "/opt/it/said"]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "kept" / "__pycache__").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "kept/c.txt", "kept/__pycache__/d.pyc"):
        (folder / name).write_text(name)
    (folder / ".dockerignore").write_text("# only these\n*\n!a.txt\n!kept\n**/__pycache__\n")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return folder


def tried(context: Path, **given: str) -> tuple[Path, list[str]]:
    told: list[str] = []
    root = context.parent / "root"
    place = Folder(root, ("/opt/it", "/build"))
    built = build(context / "Dockerfile", context, place, given, told.append)
    assert built.settings.user == "10001:10001"
    assert built.settings.environment["PATH"].startswith("/opt/it:/usr/local/sbin")
    assert built.health == ("cat", "/opt/it/said")
    assert place.run(built.stage, built.health, built.settings.environment, "/", "")
    return root, told


def test_steps_are_done_in_a_folder(context: Path) -> None:
    root, told = tried(context, WORD="World")
    assert (root / "opt/it/said").read_text() == "hello  there, World\n"
    assert (root / "opt/it/listed").read_text().split() == ["a.txt", "c.txt"]
    assert not (root / "build" / "__pycache__").exists()
    assert "(left out)" in next(line for line in told if "apt-get" in line)


def test_arguments_have_defaults(context: Path) -> None:
    root, _ = tried(context)
    assert (root / "opt/it/said").read_text() == "hello  there, none\n"


def test_a_step_that_fails_ends_it(context: Path) -> None:
    (context / "Dockerfile").write_text("FROM a\nRUN false\n")
    with pytest.raises(subprocess.CalledProcessError):
        tried(context)


def test_what_the_build_does_not_see_cannot_be_copied(context: Path) -> None:
    (context / "Dockerfile").write_text("FROM a\nWORKDIR /build\nCOPY b.txt ./\n")
    with pytest.raises(FileNotFoundError, match=r"\.dockerignore"):
        tried(context)


def test_an_instruction_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2: ADD"):
        list(steps_of("FROM a\nADD x y\n"))


def test_stages_and_their_sources() -> None:
    stages = stages_of(DOCKERFILE, {"BASE": "other:1"})
    assert [(stage.name, stage.source) for stage in stages] == [("base", "other:1"), ("builder", "base"), ("2", "base")]
    assert [step.line for step in stages[1].steps] == [8, 9, 10, 11, 12]


def test_a_stage_s_settings() -> None:
    settings = Settings()
    for step in steps_of("ARG A=1\nENV B=${A}2 C='x y'\nWORKDIR /w/$B\n"):
        take(step, settings, {"A": "7"})
    assert (settings.arguments, settings.environment) == ({"A": "7"}, {"B": "72", "C": "x y"})
    assert settings.folder == "/w/72"
    assert pairs('A="$B c"', {"B": "b"}) == {"A": "b c"}


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("a.py", False),
        ("x/a.py", True),
        ("x/y/a.py", True),
        ("x/keep/a.py", False),
        ("deep/down/b.pyc", True),
        ("z", True),
        ("zz", False),
    ],
)
def test_ignored_paths(path: str, out: bool) -> None:
    assert left_out(path, patterns_of("x\n!x/keep\n**/*.py[co]\n/z/\n")) is out
