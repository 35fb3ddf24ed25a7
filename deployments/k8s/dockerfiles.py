"""What a Dockerfile's last stage says about the containers that run it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_ENV = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)=("(?:[^"\\]|\\.)*"|'[^']*'|\S*)""")


@dataclass(frozen=True, slots=True)
class Image:
    """One image: `user` as it is written (10001:10001), exposed ports, variables."""

    name: str
    user: str
    ports: tuple[int, ...]
    env: Mapping[str, str]


def read_image(text: str, name: str) -> Image:
    """Of the last stage; what the stages before it say is theirs alone, unless it begins from one of them."""
    stages: dict[str, Image] = {}
    current = Image(name, "root", (), {})
    for instruction, rest in _instructions(text):
        match instruction:
            case "FROM":
                words = [word for word in rest.split() if not word.startswith("--")]
                base = stages.get(words[0].lower(), Image(name, "root", (), {}))
                current = Image(name, base.user, base.ports, dict(base.env))
                alias = words[2].lower() if len(words) == 3 else str(len(stages))
            case "USER":
                current = Image(name, rest.strip(), current.ports, current.env)
            case "EXPOSE":
                ports = tuple(int(port.partition("/")[0]) for port in rest.split())
                current = Image(name, current.user, (*current.ports, *ports), current.env)
            case "ENV":
                found = {key: value.strip("\"'") for key, value in _ENV.findall(rest)}
                current = Image(name, current.user, current.ports, {**current.env, **found})
        if instruction == "FROM" or stages:
            stages[alias] = current
    return current


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """(FROM, the rest of it), with continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\[ \t]*\n", " ", "\n".join(lines))
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.isalpha() and word.isupper():
            yield word, rest
