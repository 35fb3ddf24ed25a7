"""A configuration file as the arguments of an application in pods: the same keys, with paths that exist there."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from deployments.k8s.agreement.applications import Application
from deployments.k8s.agreement.serving import REMOTE, path_is_there
from deployments.k8s.facts import PACKAGE, Facts
from deployments.settings import Settings
from deployments.yaml_lines import KeyPath, YamlDocument
from engine.errors import ConfigError

_OF_THE_POD = ("host", "port")  # Serve's own options say these


def filled_arguments(settings: Settings, config: Path, served: Application, facts: Facts) -> dict[str, Any]:
    """What `config` says, as plain values. `settings` are read from it, so their relative paths are resolved; their
    front doors and API keys count, for they may be the overlay's. Raises ConfigError, a line for each path that no pod
    will have."""
    document = YamlDocument(config)
    arguments = copy.deepcopy(document.data)
    problems = []
    for index, model in enumerate(settings.models):
        raw = arguments["models"][index]
        places: list[tuple[dict[str, Any], str, str | None, KeyPath]] = [
            (raw, key, getattr(model, key), ("models", index, key)) for key in ("source", "changes")
        ]
        for number, variant in enumerate(model.variants):
            if variant.prepared is not None:
                at = ("models", index, "variants", number, "prepared")
                places.append((raw["variants"][number], "prepared", variant.prepared, at))
        for section, key, path, where in places:
            if path is None or path.startswith(REMOTE):
                continue
            there = _in_pods(str(section[key]), Path(path), served, facts)
            if there is None:
                problems.append(f"{config}:{document.line_of(where)}: {section[key]} {_ADVICE}")
            else:
                section[key] = there
    if problems:
        raise ConfigError("\n".join(problems), param="source")
    http = {key: value for key, value in (arguments.pop("http", None) or {}).items() if key not in _OF_THE_POD}
    if settings.http.front_doors != http.get("front_doors", 1):
        http["front_doors"] = settings.http.front_doors
    if settings.http.without_keys:
        http["without_keys"] = True
    access = {} if settings.access.keys is None else {"keys": settings.access.keys}
    arguments.pop("access", None)
    return {**({"http": http} if http else {}), **({"access": access} if access else {}), **arguments}


_ADVICE = (
    "exists in no pod: use pypi:... or hf:..., a path in the package deployments, or an absolute one under a volume "
    "that the overlay mounts in every Ray pod (such as /models)."
)


def _in_pods(written: str, resolved: Path, served: Application, facts: Facts) -> str | None:
    """The path as the pods have it: relative to the package, or absolute on a volume. None where they have none."""
    if path_is_there(str(written), served, facts) and written.startswith("/"):
        return written
    if resolved.is_relative_to(PACKAGE):
        relative = resolved.relative_to(PACKAGE).as_posix()
        return relative if facts.in_package(relative) else None
    return None
