"""What manifests have to agree with: this project's code, its images, and the Ray that it runs on."""

from __future__ import annotations

import ast
import importlib.util
import mmap
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from deployments.k8s.dockerfiles import Image, read_image
from deployments.k8s.source_names import metric_names, route_paths, variable_names
from engine.errors import ConfigError

PACKAGE = Path(__file__).parent.parent  # `deployments`, from which relative paths of a served configuration count
ROOT = PACKAGE.parent

# Ports at which Ray answers inside of a pod, whether or not the container names them.
RAY_PORTS = {
    "gcs": 6379,
    "client": 10001,
    "dashboard": 8265,
    "metrics": 8080,
    "agent": 52365,
    "autoscaler": 44217,
    "dashboard metrics": 44227,
}
# Paths that answer, by port.
RAY_PATHS: Mapping[int, frozenset[str]] = {
    8265: frozenset({"/api/gcs_healthz", "/api/version"}),
    52365: frozenset({"/api/local_raylet_healthz", "/api/healthz"}),  # on the head the second asks the GCS too
    8080: frozenset({"/metrics"}),
    44217: frozenset({"/metrics"}),
    44227: frozenset({"/metrics"}),
}
PROXY_PATHS = frozenset({"/-/healthz", "/-/routes"})  # of Serve's proxies, at the port of the front door

# Secrets that are made in the cluster, by hand or by another program: name -> keys. Those of the project's manifests;
# whoever has others says so (`stageline k8s check --secret`).
SECRETS: Mapping[str, frozenset[str]] = {
    "stageline-ray-token": frozenset({"auth_token"}),
    "stageline-api-keys": frozenset({"keys.yaml"}),
    "stageline-metrics-key": frozenset({"key"}),
    "stageline-redis": frozenset({"password"}),
    "stageline-ray-ca": frozenset({"tls.crt", "tls.key"}),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """`metrics` are names as Prometheus sees them; `secrets` are made in the cluster, by name with their keys. Four
    answer questions: whether an import path (`module:name`) exists, whether a relative path lies in the package
    `deployments`, whether Ray reads a variable, and whether it has a metric."""

    switches: Mapping[str, str]
    port: int
    routes: frozenset[str]
    metrics: frozenset[str]
    ray_version: str
    our_variables: frozenset[str]
    images: tuple[Image, ...]
    importable: Callable[[str], bool]
    in_package: Callable[[str], bool]
    ray_reads: Callable[[str], bool]
    ray_measures: Callable[[str], bool]
    secrets: Mapping[str, frozenset[str]] = field(default_factory=lambda: SECRETS)


@lru_cache(maxsize=1)
def gather() -> Facts:
    """The facts of this installation. (Images are known only in a checkout of the project.)"""
    import ray

    from deployments.serving import serve_switches
    from deployments.settings import Http

    ray_folder = Path(ray.__file__).parent
    images = sorted((ROOT / "k8s" / "images").glob("*/Dockerfile"))
    return Facts(
        switches=serve_switches(),
        port=Http().port,
        routes=frozenset(route_paths(PACKAGE / "front_door" / "routes")),
        metrics=frozenset(metric_names(PACKAGE)),
        ray_version=ray.__version__,
        our_variables=frozenset(variable_names([PACKAGE, ROOT / "cluster", ROOT / "engine", ROOT / "loadtest"])),
        images=tuple(read_image(path.read_text(encoding="utf-8"), path.parent.name) for path in images),
        importable=is_importable,
        in_package=lambda path: (PACKAGE / path).exists(),
        ray_reads=lambda name: _ray_reads(ray_folder, name),
        ray_measures=lambda name: _ray_measures(ray_folder, name),
    )


def with_secrets(facts: Facts, made: Sequence[str]) -> Facts:
    """The same with more Secrets, each said as `NAME=KEY`; a name may come again with another key. Raises ConfigError
    for one that says no name or no key."""
    secrets = dict(facts.secrets)
    for said in made:
        name, _, key = said.partition("=")
        if not name or not key:
            raise ConfigError(f"{said!r} does not say a Secret and its key: write NAME=KEY.", param="secret")
        secrets[name] = secrets.get(name, frozenset()) | {key}
    return replace(facts, secrets=secrets)


def is_importable(path: str) -> bool:
    """Whether `package.module:name` is there. The module is read, not run."""
    module, _, name = path.partition(":")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None or not name:
        return False
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name for node in body)


@lru_cache(maxsize=256)
def _ray_reads(ray_folder: Path, name: str) -> bool:
    """Whether a variable's name is somewhere in Ray's own files: in Python's, or in its libraries."""
    return any(_contains(path, name.encode()) for path in _ray_files(ray_folder))


@lru_cache(maxsize=256)
def _ray_measures(ray_folder: Path, name: str) -> bool:
    """Whether Ray names a metric somewhere, as a text of its own: without the prefix that all of its metrics get, and
    without what Prometheus appends."""
    whole = name.removeprefix("ray_")
    stems = {whole, re.sub(r"_(bucket|sum|count|total)$", "", whole)}
    # Serve makes some for each protocol.
    stems |= {re.sub("http|grpc", "{protocol_name}", stem) for stem in stems}
    quoted = [text.encode() for stem in stems for text in _as_text(stem)]
    return any(_contains(path, text) for path in _ray_files(ray_folder) for text in quoted)


def _as_text(name: str) -> tuple[str, ...]:
    """In Python, and in a compiled library."""
    return f'"{name}"', f"'{name}'", f"\0{name}\0"


@lru_cache(maxsize=2)
def _ray_files(ray_folder: Path) -> Sequence[Path]:
    """Those which read variables, the small ones first."""
    few = ("_private", "_common", "serve", "autoscaler", "dashboard", "util")
    python = [path for folder in few for path in (ray_folder / folder).rglob("*.py")]
    libraries = [ray_folder / "_raylet.so", ray_folder / "core" / "src" / "ray" / "gcs" / "gcs_server"]
    return [*python, *[path for path in libraries if path.exists()]]


def _contains(path: Path, text: bytes) -> bool:
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return mapped.find(text) >= 0
