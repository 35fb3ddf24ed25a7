"""A Dockerfile as a list of steps, stage by stage. What this project's files use is understood, and no more."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

KNOWN = frozenset(
    ("FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "USER", "LABEL", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD")
)


@dataclass(frozen=True, slots=True)
class Step:
    """`name` is the instruction (RUN), `rest` what follows on its line and those that continue it."""

    name: str
    rest: str
    line: int


@dataclass(frozen=True, slots=True)
class Stage:
    """The steps from one FROM to the next. `source` is an image, or a stage before it."""

    name: str
    source: str
    steps: tuple[Step, ...]


@dataclass(slots=True)
class Settings:
    """What a stage's steps have set so far: `arguments` of the build, the image's `environment`, and the rest."""

    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = ""

    def variables(self) -> dict[str, str]:
        return self.arguments | self.environment


def steps_of(text: str) -> Iterator[Step]:
    """The instructions, with continued lines joined. Raises ValueError for one that is not in `KNOWN`."""
    joined, began = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or not (joined or line.strip()):
            continue
        began = began if joined else number
        joined += line.rstrip().removesuffix("\\")
        if line.rstrip().endswith("\\"):
            continue
        name, _, rest = joined.strip().partition(" ")
        if name not in KNOWN:
            raise ValueError(f"line {began}: {name} is not understood here; known are {', '.join(sorted(KNOWN))}.")
        yield Step(name, rest.strip(), began)
        joined = ""


def stages_of(text: str, given: Mapping[str, str]) -> list[Stage]:
    """All stages, by `given` arguments in place of the defaults of those that stand before the first FROM."""
    defaults: dict[str, str] = {}
    found: list[Stage] = []
    for step in steps_of(text):
        if step.name == "FROM":
            words = expanded(step.rest, defaults).split()
            named = words[2] if len(words) == 3 and words[1].upper() == "AS" else str(len(found))
            found.append(Stage(named, words[0], ()))
        elif found:
            last = found[-1]
            found[-1] = Stage(last.name, last.source, (*last.steps, step))
        else:
            name, _, value = step.rest.partition("=")
            defaults[name] = given.get(name, value)
    return found


def take(step: Step, settings: Settings, given: Mapping[str, str]) -> None:
    """Has a step that sets something set it; others change nothing."""
    match step.name:
        case "ARG":
            name, _, value = expanded(step.rest, settings.variables()).partition("=")
            settings.arguments[name] = given.get(name, value)
        case "ENV":
            settings.environment |= pairs(step.rest, settings.variables())
        case "WORKDIR":
            settings.folder = expanded(step.rest, settings.variables())
        case "USER":
            settings.user = expanded(step.rest, settings.variables())


def pairs(rest: str, variables: Mapping[str, str]) -> dict[str, str]:
    """`A=1 B="two words"` as a dictionary."""
    words = [word.partition("=") for word in shlex.split(rest)]
    return {name: expanded(value, variables) for name, _, value in words}


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """With `$NAME` and `${NAME}` replaced; unknown ones are empty, as Docker has it."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda match: variables.get(match[1] or match[2], ""), text)


def command_of(rest: str) -> list[str]:
    """The command of CMD, ENTRYPOINT or HEALTHCHECK, which this project writes as a JSON list."""
    return [str(word) for word in json.loads(rest[rest.index("[") :])]
