"""The configuration that is served: Serve takes it, Stageline takes it, and it fits pods instead of one machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from deployments.k8s.agreement.applications import FIELD, Application, applications, http_port, serve_config
from deployments.k8s.facts import Facts
from deployments.k8s.objects import Fault, KubeObject, get, mapping, mappings, of_kind
from deployments.k8s.ray_clusters import first_container
from deployments.settings import Settings

REMOTE = ("pypi:", "hf:")


def serve_schema(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Serve drops fields that it does not know without a word; here they are errors."""
    from pydantic import ValidationError
    from ray.serve import schema

    for one in of_kind(objects, "RayService"):
        config = serve_config(one)
        if not config:
            continue
        known = {
            "": schema.ServeDeploySchema,
            "http_options": schema.HTTPOptionsSchema,
            "grpc_options": schema.gRPCOptionsSchema,
        }
        for part, model in known.items():
            yield from _unknown(one, get(config, part, {}) if part else config, model, part)
        for path, application in mappings(config, "applications"):
            yield from _unknown(one, application, schema.ServeApplicationSchema, path)
        try:
            schema.ServeDeploySchema.model_validate(config)
        except ValidationError as error:
            for problem in error.errors():
                yield Fault(one, FIELD, f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}")


def _unknown(one: KubeObject, data: Any, model: Any, path: str) -> Iterator[Fault]:
    for key in data if isinstance(data, Mapping) else ():
        if key not in model.model_fields:
            yield Fault(one, FIELD, f"{path}{'.' if path else ''}{key}: Serve knows no such field")


def stageline_args(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """`args` are a Stageline configuration in which every variant says how many cores it takes, and which has API keys
    or is meant for everybody."""
    for served in applications(objects):
        for problem in served.problems:
            yield Fault(served.owner, FIELD, problem)
        if served.settings is None:
            continue
        for name in without_cores(served.settings):
            yield Fault(served.owner, FIELD, f"{name} needs `cores`: the autoscaler goes by what replicas reserve")
        if served.settings.access.keys is None and not served.settings.http.without_keys:
            yield Fault(
                served.owner,
                FIELD,
                "args: name a file of API keys in `access.keys`, or say with `http.without_keys: true` that anybody "
                "who reaches it may use it",
            )
        for key in sorted({"host", "port"} & served.settings.http.model_fields_set):
            yield Fault(served.owner, FIELD, f"args.http.{key}: set it in http_options, beside the applications")


def import_path(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """What Serve imports is in the code."""
    for served in applications(objects):
        path = str(served.application.get("import_path", ""))
        if not facts.importable(path):
            yield Fault(served.owner, FIELD, f"import_path: there is no {path!r} in this Stageline")


def model_paths(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """Models, prepared variants and keys lie in the package, on a volume that all Ray pods mount, or are fetched."""
    for served in applications(objects):
        for where, path in paths_of(served.settings):
            if not path_is_there(path, served, facts):
                yield Fault(
                    served.owner,
                    FIELD,
                    f"args.{where}: {path} is neither in the package nor on a volume of every Ray pod; give a path "
                    "under a mount, pypi:..., or hf:...",
                )


def http_options(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """Serve listens at all addresses, at the port that the containers name `serve`."""
    for served in applications(objects):
        host = str(mapping(served.config, "http_options").get("host", "127.0.0.1"))
        if is_loopback(host):
            yield Fault(served.owner, FIELD, f"http_options.host: at {host} nobody outside of the pod reaches it")
        port = http_port(served.config, facts.port)
        for path, group, _ in served.cluster.groups():
            named = {
                item.get("name"): item.get("containerPort") for _, item in mappings(first_container(group), "ports")
            }
            if named.get("serve") != port:
                at = f"{path}.template.spec.containers[0].ports"
                said = named.get("serve", "nowhere")
                yield Fault(served.owner, at, f"Serve listens at {port}, and the port named serve is {said}")


def front_doors(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Several front doors are on as many nodes, each with a proxy beside it; a service that is to outlive its head has
    several."""
    for served in applications(objects):
        settings = served.settings
        doors = settings.http.front_doors if settings is not None else 1
        proxies = served.config.get("proxy_location", "EveryNode")
        if doors > 1 and proxies != "EveryNode":
            yield Fault(served.owner, FIELD, f"proxy_location: {doors} front doors need EveryNode, not {proxies}")
        nodes = 1 + sum(int(group.get("minReplicas") or 0) for _, group in served.cluster.workers())
        if doors > nodes:
            counted = f"{doors}, one a node, and {nodes} nodes always run (with the head)"
            yield Fault(served.owner, FIELD, f"args.http.front_doors: {counted}: raise minReplicas")
        if settings is not None and doors == 1:
            for path, why in _without_the_head(served):
                advice = "give args.http.front_doors, 2 or more"
                yield Fault(served.owner, path, f"{why}, and the only front door is there: {advice}")


def _without_the_head(served: Application) -> Iterator[tuple[str, str]]:
    """(path, what it means) of what is said for a service that goes on without its head."""
    if get(served.owner.data, "spec.excludeHeadPodFromServeSvc") is True:
        yield "spec.excludeHeadPodFromServeSvc", "callers are kept off the head"
    if get(served.cluster.spec, "gcsFaultToleranceOptions") is not None:
        yield f"{served.cluster.path}.gcsFaultToleranceOptions", "the workers go on when the head is lost"


def without_cores(settings: Settings) -> list[str]:
    """Variants that leave open how many cores they take."""
    return [f"{model.name}:{one.name}" for model in settings.models for one in model.variants if one.cores is None]


def is_loopback(host: str) -> bool:
    """Whether a host means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def paths_of(settings: Settings | None) -> Iterator[tuple[str, str]]:
    """(key, path) of everything that has to lie somewhere."""
    if settings is not None and settings.access.keys is not None:
        yield "access.keys", settings.access.keys
    for index, model in enumerate(settings.models if settings is not None else ()):
        for key in ("source", "changes"):
            path = getattr(model, key)
            if path is not None and not path.startswith(REMOTE):
                yield f"models[{index}].{key}", path
        for number, variant in enumerate(model.variants):
            if variant.prepared is not None:
                yield f"models[{index}].variants[{number}].prepared", variant.prepared


def path_is_there(path: str, served: Application, facts: Facts) -> bool:
    """Whether a path will exist in every Ray pod."""
    if not path.startswith("/"):
        return facts.in_package(path)
    groups = [group for _, group, _ in served.cluster.groups()]
    return all(any(_below(path, mount) for mount in _mounts(group)) for group in groups)


def _mounts(group: Mapping[str, Any]) -> list[str]:
    return [str(mount.get("mountPath")) for _, mount in mappings(first_container(group), "volumeMounts")]


def _below(path: str, mount: str) -> bool:
    return PurePosixPath(mount) in (PurePosixPath(path), *PurePosixPath(path).parents)
