"""Does a Dockerfile's steps one after the other, and tells of each what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments.k8s.image_trial.context import Patterns, copy, patterns_of
from deployments.k8s.image_trial.places import Place
from deployments.k8s.image_trial.steps import Settings, Step, command_of, expanded, stages_of, take

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Built:
    """The last stage: its name, what was set for the containers that run it, and their health check."""

    stage: str
    settings: Settings
    health: tuple[str, ...]


def build(
    dockerfile: Path, context: Path, place: Place, given: Mapping[str, str], tell: Callable[[str], None]
) -> Built:
    """All stages in their order. Raises CalledProcessError, FileNotFoundError, ValueError."""
    ignored = context / ".dockerignore"
    patterns = patterns_of(ignored.read_text(encoding="utf-8")) if ignored.exists() else []
    done: dict[str, Settings] = {}
    health: tuple[str, ...] = ()
    for stage in stages_of(dockerfile.read_text(encoding="utf-8"), given):
        began = time.monotonic()
        place.begin(stage.name, stage.source, list(done))
        before = done.get(stage.source, Settings(environment={"PATH": PATH}))
        settings = Settings({}, dict(before.environment), before.folder, before.user)
        tell(f"{stage.name} from {stage.source}: {time.monotonic() - began:.0f} s")
        for step in stage.steps:
            began = time.monotonic()
            take(step, settings, given)
            words = ""
            match step.name:
                case "WORKDIR":
                    place.path(stage.name, settings.folder).mkdir(parents=True, exist_ok=True)
                case "COPY":
                    _copy(step, stage.name, settings, place, context, patterns)
                case "RUN":
                    shell = ["/bin/sh", "-c", step.rest]
                    ran = place.run(stage.name, shell, settings.variables(), settings.folder, settings.user)
                    words = "" if ran else " (left out)"
                case "HEALTHCHECK":
                    health = tuple(command_of(step.rest))
            if step.name in ("RUN", "COPY"):
                first = step.rest.splitlines()[0]
                tell(
                    f"{stage.name}, line {step.line}: {step.name} {first:.80}{words}: {time.monotonic() - began:.0f} s"
                )
        done[stage.name] = settings
    return Built(stage.name, settings, health)


def _copy(step: Step, stage: str, settings: Settings, place: Place, context: Path, patterns: Patterns) -> None:
    words = expanded(step.rest, settings.variables()).split()
    *sources, target = [word for word in words if not word.startswith("--")]
    origin = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
    to = target if target.startswith("/") else f"{settings.folder.rstrip('/')}/{target}"
    for source in sources:
        if origin is not None:
            place.copy_stage(origin, stage, source, to)
            continue
        named = not (context / source).is_dir() and (
            len(sources) > 1 or target.endswith("/")
        )  # folders: what is in them
        into = f"{to.rstrip('/')}/{Path(source).name}" if named else to
        copy(context, source, place.path(stage, into), patterns)
