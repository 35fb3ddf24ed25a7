"""The whole file, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from deployments.settings.access import Access
from deployments.settings.drift import Drift
from deployments.settings.logs import Logs
from deployments.settings.model import Model
from deployments.settings.problems import explain, plain
from deployments.settings.section import Section, Size, items, refuse_twice
from deployments.settings.tracing import Tracing
from deployments.settings.variant import Variant
from deployments.settings.watchdog import Watchdog
from deployments.yaml_lines import KeyPath, YamlDocument, show
from engine.errors import ConfigError

DEMO_CONFIG = Path(__file__).parent.parent / "demo.yaml"
EVERYWHERE = "0.0.0.0"  # as `http.host`: all addresses of a node


class Http(Section):
    """The front door. Loopback by default, and without API keys nothing else, unless `without_keys` says that anybody
    who reaches it may use it. One is on the head's node; of several, each is on a node of its own. Operators have a
    port of their own, which `stageline serve` chooses where none is set."""

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8000, ge=1, le=65535)
    front_doors: int = Field(1, ge=1)
    max_body: Size = Field(8 << 20, ge=1 << 10)
    admin_host: str = Field("127.0.0.1", min_length=1)
    admin_port: int | None = Field(None, ge=1, le=65535)
    without_keys: bool = False


class Settings(Section):
    """The whole file."""

    models: Annotated[tuple[Model, ...], BeforeValidator(items)]
    http: Http = Http()
    access: Access = Access()
    logs: Logs = Logs()
    tracing: Tracing = Tracing()
    watchdog: Watchdog = Watchdog()
    drift: Drift = Drift()

    @model_validator(mode="after")
    def _models_differ(self) -> Self:
        refuse_twice("name", [model.name for model in self.models])
        return self

    def with_http(
        self,
        *,
        host: str | None = None,
        port: int | None = None,
        admin_host: str | None = None,
        admin_port: int | None = None,
        without_keys: bool | None = None,
    ) -> Settings:
        """A copy that listens elsewhere, or for everybody; None leaves what is set. Raises `ConfigError`."""
        changed = {
            "host": host,
            "port": port,
            "admin_host": admin_host,
            "admin_port": admin_port,
            "without_keys": without_keys,
        }
        try:
            http = Http(**{**self.http.model_dump(), **{key: to for key, to in changed.items() if to is not None}})
        except ValidationError as error:
            problem = error.errors()[0]
            option = str(problem["loc"][0]).replace("_", "-")
            raise ConfigError(f"--{option}: {plain(problem)}.", param=option) from None
        return self.model_copy(update={"http": http})

    def with_cores(self, available: int) -> Settings:
        """A copy in which every variant has its `cores`.

        What is left open is shared evenly among a variant's replicas and their stages, at their most: more threads than
        cores would make all of them slower. Different variants share the cores, of one model too: while the best one
        keeps up the others have little to do, and where all are busy their threads do not wait for each other.
        Raises `ConfigError` when the cores do not suffice for the replicas that always run.
        """
        variants = [variant for model in self.models for variant in model.variants]
        given = sum(variant.least_processes * (variant.cores or 0) for variant in variants)
        always = given + max((variant.least_processes for variant in variants if not variant.cores), default=0)
        if always > available:
            raise ConfigError(
                f"The replicas that always run need {always} cores and there are {available}: lower replicas.min, "
                "stages or cores, or serve fewer models."
            )
        left = available - sum(variant.most_processes * (variant.cores or 0) for variant in variants)
        return self.model_copy(update={"models": tuple(model.with_cores(left) for model in self.models)})

    def reserved_share(self, available: int) -> float:
        """How much of their `cores` replicas and stages can reserve so that all find a place, at their most: at most
        1."""
        wanted = sum(v.most_processes * (v.cores or 0) for model in self.models for v in model.variants)
        drivers = sum(v.replicas.max * v.stages.driver_cpus for model in self.models for v in model.variants)
        return min(1.0, max(0.0, available - drivers) / wanted) if wanted else 1.0


def load_settings(path: Path) -> Settings:
    """Read and check a configuration file; relative model paths count from its folder.

    Raises `ConfigError` with one line for each fault: `file:line: key: what is wrong`.
    """
    document = YamlDocument(path)
    if not isinstance(document.data, dict):
        raise ConfigError(f"{path}: this is not a configuration; it needs a key 'models' (see {DEMO_CONFIG.name}).")
    return read_settings(document.data, path.parent, lambda at: f"{path}:{document.line_of(at)}")


def read_settings(data: object, folder: Path, where: Callable[[KeyPath], str]) -> Settings:
    """Settings from plain values; relative paths count from `folder`.

    Raises `ConfigError` with one line for each fault: `where(its key)`, the key, what is wrong.
    """
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        problems = error.errors()
        lines = [f"{where(problem['loc'])}: {explain(problem, Settings)}" for problem in problems]
        raise ConfigError("\n".join(lines), param=show(problems[0]["loc"]) or None) from None
    models = tuple(
        model.model_copy(
            update={
                "source": _from_folder(model.source, folder),
                "changes": None if model.changes is None else _from_folder(model.changes, folder),
                "variants": tuple(_located(variant, folder) for variant in model.variants),
            }
        )
        for model in settings.models
    )
    keys = settings.access.keys
    access = settings.access if keys is None else Access(keys=_path(keys, folder))
    return settings.model_copy(update={"models": models, "access": access})


def _path(path: str, folder: Path) -> str:
    """Absolute, but with its links as they are: Kubernetes changes a mounted Secret by changing a link."""
    return str((folder / Path(path).expanduser()).absolute())


def _from_folder(source: str, folder: Path) -> str:
    if source.startswith(("pypi:", "hf:")):
        return source
    return str((folder / Path(source).expanduser()).resolve())


def _located(variant: Variant, folder: Path) -> Variant:
    if variant.prepared is None:
        return variant
    return variant.model_copy(update={"prepared": str((folder / Path(variant.prepared).expanduser()).resolve())})
