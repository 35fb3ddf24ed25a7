"""`serveConfigV2` taken apart: Serve's own configuration, and ours in its `args`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from deployments.k8s.objects import KubeObject, get, mapping, of_kind
from deployments.k8s.ray_clusters import RayCluster, ray_clusters
from deployments.settings import Settings
from deployments.settings.problems import explain

FIELD = "spec.serveConfigV2"


@dataclass(frozen=True, slots=True)
class Application:
    """The application of a RayService that serves Stageline. `settings` is None where `problems` say why."""

    owner: KubeObject
    config: Mapping[str, Any]
    application: Mapping[str, Any]
    settings: Settings | None
    problems: tuple[str, ...]

    @property
    def cluster(self) -> RayCluster:
        return ray_clusters([self.owner])[0]


def serve_config(one: KubeObject) -> Mapping[str, Any]:
    """The text as values; empty where it is not YAML, which another rule tells."""
    try:
        config = yaml.safe_load(str(get(one.data, FIELD, "")))
    except yaml.YAMLError:
        return {}
    return config if isinstance(config, Mapping) else {}


def applications(objects: Sequence[KubeObject]) -> Iterator[Application]:
    """The first application of each RayService that has one."""
    for one in of_kind(objects, "RayService"):
        config = serve_config(one)
        found = [item for item in config.get("applications") or () if isinstance(item, Mapping)]
        if found:
            settings, problems = read_args(found[0].get("args"))
            yield Application(one, config, found[0], settings, problems)


def read_args(args: Any) -> tuple[Settings | None, tuple[str, ...]]:
    """The settings that an application's `args` are, or what is wrong with them."""
    if not isinstance(args, Mapping) or "models" not in args:
        return None, ("args: a Stageline configuration is wanted here, with `models`",)
    try:
        return Settings.model_validate(dict(args)), ()
    except ValidationError as error:
        return None, tuple(f"args.{explain(problem, Settings).removesuffix('.')}" for problem in error.errors())


def http_port(config: Mapping[str, Any], default: int) -> Any:
    """Where Serve listens in every pod."""
    return mapping(config, "http_options").get("port", default)
