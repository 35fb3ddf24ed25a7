"""An overlay filled from a Stageline configuration, so that no number is written in two places.

The result is a small kustomize overlay on top of the one that it fills: what a team keeps in its repository, reviews as
a difference of a few lines, and gives to Argo CD, Flux or `kubectl apply -k`. The same as finished YAML is for a pipe.
Helm's users give the configuration as a value of the chart; see its values.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.k8s.agreement.applications import Application, applications
from deployments.k8s.agreement.serving import is_loopback, without_cores
from deployments.k8s.arguments import filled_arguments
from deployments.k8s.facts import Facts, gather
from deployments.k8s.objects import KubeObject, load_objects, of_kind
from deployments.k8s.targets import K8S, kustomize, relative, write_kustomization
from deployments.k8s.workers import Sizing, budget_operations, group_operations, kept_groups, size_workers
from deployments.k8s.yaml_text import dump
from deployments.settings import Settings
from engine.errors import ConfigError

SERVICE, BUDGETS = "rayservice.yaml", "disruption-budgets.yaml"
_RAY_SERVICE = {"group": "ray.io", "version": "v1", "kind": "RayService"}
Operations = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Patch:
    """JSON patches (RFC 6902) for one object, in a file of their own."""

    file: str
    target: Mapping[str, str]
    operations: Operations


@dataclass(frozen=True, slots=True)
class Filled:
    """An overlay and what is to be changed in it. `notes` are for whoever asked."""

    overlay: Path
    patches: tuple[Patch, ...]
    notes: tuple[str, ...]

    def write(self, folder: Path) -> list[Path]:
        """The overlay on top, as a folder; what is there of the same names is replaced. Returns the files."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            content = {
                "resources": [relative(self.overlay, folder)],
                "patches": [{"target": dict(patch.target), "path": patch.file} for patch in self.patches],
            }
            write_kustomization(folder, content)
            for patch in self.patches:
                text = dump(patch.operations)
                (folder / patch.file).write_text(f"# Written by `stageline k8s render`.\n{text}", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{folder} cannot be written: {error}.", param="output") from error
        return [folder / "kustomization.yaml", *(folder / patch.file for patch in self.patches)]

    def stream(self, build: Callable[[Path], str] = kustomize) -> str:
        """The same as finished YAML."""
        with tempfile.TemporaryDirectory(prefix="stageline-render-") as name:
            folder = Path(name).resolve()
            self.write(folder)
            return build(folder)


def fill(settings: Settings, config: Path, overlay: str, worker_cpus: int | None = None) -> Filled:
    """`settings` are those of the file `config`. Raises ConfigError for a configuration that would not work in pods,
    and for an overlay that is not there or has no RayService."""
    folder = overlay_folder(overlay)
    return fill_objects(settings, config, folder, load_objects(kustomize(folder), overlay), gather(), worker_cpus)


def overlay_folder(overlay: str) -> Path:
    """A name under k8s/overlays, or a path."""
    for folder in (K8S / "overlays" / overlay, Path(overlay)):
        if (folder / "kustomization.yaml").is_file():
            return folder
    known = sorted(path.parent.name for path in (K8S / "overlays").glob("*/kustomization.yaml"))
    names = f"; overlays here: {', '.join(known)}" if known else ""
    raise ConfigError(f"There is no overlay {overlay}{names}.", param="overlay")


def fill_objects(
    settings: Settings,
    config: Path,
    overlay: Path,
    objects: tuple[KubeObject, ...],
    facts: Facts,
    worker_cpus: int | None = None,
) -> Filled:
    """The same of an overlay's `objects`."""
    served = next(applications(objects), None)
    if served is None:
        raise ConfigError(f"{overlay} has no RayService with an application to fill.", param="overlay")
    refuse(settings, config, facts)
    settings, kept = with_front_doors(settings, served)
    settings, access = with_access(settings, served)
    arguments = filled_arguments(settings, config, served, facts)
    sizing = size_workers(settings, served.cluster, worker_cpus, kept_groups(objects, served.cluster))
    operations = [{"op": "replace", "path": "/spec/serveConfigV2", "value": serve_text(served, arguments)}]
    operations += group_operations(served.cluster, sizing)
    patches = [Patch(SERVICE, _RAY_SERVICE | {"name": served.owner.name}, operations)]
    patches += _budgets(objects, served, sizing)
    return Filled(overlay, tuple(patches), (*kept, *sizing.notes, *access))


def with_front_doors(settings: Settings, served: Application) -> tuple[Settings, tuple[str, ...]]:
    """As many as the overlay has where the configuration says none, with a note of it: a service that outlives its head
    shall not stop doing so without a word."""
    doors = 1 if served.settings is None else served.settings.http.front_doors
    if doors == settings.http.front_doors or "front_doors" in settings.http.model_fields_set:
        return settings, ()
    http = settings.http.model_copy(update={"front_doors": doors})
    return settings.model_copy(update={"http": http}), (f"http.front_doors: {doors}, as in the overlay.",)


def with_access(settings: Settings, served: Application) -> tuple[Settings, tuple[str, ...]]:
    """The overlay's API keys, or that it has none, where the configuration says neither, with a note of it."""
    given, overlay = settings, served.settings
    if given.access.keys is not None or given.http.without_keys or overlay is None:
        return settings, ()
    if overlay.access.keys is None and not overlay.http.without_keys:
        return settings, ()
    http = given.http.model_copy(update={"without_keys": overlay.http.without_keys})
    note = "http.without_keys: true" if overlay.access.keys is None else f"access.keys: {overlay.access.keys}"
    return given.model_copy(update={"access": overlay.access, "http": http}), (f"{note}, as in the overlay.",)


def refuse(settings: Settings, config: Path, facts: Facts) -> None:
    """Raises ConfigError for what cannot be meant for a cluster."""
    open_ = without_cores(settings)
    if open_:
        raise ConfigError(
            f"{config}: {', '.join(open_)} leave `cores` open. In a cluster that grows there is no number to share: "
            "say how many each replica (or stage) takes.",
            param="cores",
        )
    given = settings.http.model_fields_set
    if "host" in given and is_loopback(settings.http.host):
        raise ConfigError(
            f"{config}: http.host is {settings.http.host}, where nobody outside of the pod reaches it: leave it out.",
            param="http.host",
        )
    if settings.http.port != facts.port:
        raise ConfigError(
            f"{config}: http.port is {settings.http.port}; in pods it is {facts.port}, and a Service gives it any "
            "other: leave it out.",
            param="http.port",
        )


def serve_text(served: Application, arguments: Mapping[str, Any]) -> str:
    """The overlay's own text for Serve, with other arguments."""
    first, *others = served.config["applications"]
    config = dict(served.config)
    doors = (arguments.get("http") or {}).get("front_doors", 1)
    if doors > 1:
        config["proxy_location"] = "EveryNode"
    config["applications"] = [{**first, "args": dict(arguments)}, *others]
    return dump(config)


def _budgets(objects: tuple[KubeObject, ...], served: Application, sizing: Sizing) -> list[Patch]:
    patches: list[Patch] = []
    for one in of_kind(objects, "PodDisruptionBudget"):
        operations = budget_operations(one, objects, served.cluster, sizing)
        if operations:
            target = {"group": "policy", "version": "v1", "kind": one.kind, "name": one.name}
            patches.append(Patch(BUDGETS if not patches else f"{one.name}.yaml", target, operations))
    return patches
