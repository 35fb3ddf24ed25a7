"""The configuration file: what is served, from where, and with how much of the machine.

Only keys that do something are known; anything else is refused with the line, the key's path and the nearest known
name. Everything is frozen: what is left open ("cores") is resolved into a new object, never written back.
"""

from __future__ import annotations

import difflib
import re
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from deployments.routing.prediction import Objective
from deployments.sizes import parse_size
from deployments.yaml_lines import KeyPath, YamlDocument, show
from engine.config import EngineConfig, Precision
from engine.encoder.config import EncoderConfig
from engine.errors import ConfigError
from engine.seq2seq.config import Seq2SeqConfig

DEMO_CONFIG = Path(__file__).parent / "demo.yaml"

Size = Annotated[int, BeforeValidator(parse_size)]

_PAIR = re.compile(r"[A-Za-z]{2,3}(_[A-Za-z]{2,8})*-[A-Za-z]{2,3}(_[A-Za-z]{2,8})*")


def _items(value: object) -> tuple[Any, ...]:
    # YAML gives lists; a tuple is what a frozen object can hold.
    if isinstance(value, tuple):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError("a list with at least one item is needed here")
    return tuple(value)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Replicas(_Section):
    """How many copies of a variant run: never fewer than `min`, never more than `max`. With `min` 0 the last one ends
    after `idle_s` seconds without work."""

    min: int = Field(1, ge=0)
    max: int = Field(1, ge=1)
    idle_s: float = Field(300.0, ge=1, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _max_follows_min(cls, data: Any) -> Any:
        if isinstance(data, dict) and "max" not in data and isinstance(data.get("min"), int):
            return {**data, "max": max(1, data["min"])}
        return data

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) is less than min ({self.min})")
        if "idle_s" in self.model_fields_set and self.min:
            raise ValueError("idle_s means nothing where min is not 0; leave it out")
        return self


class Variant(_Section):
    """One model at one precision. `cores` of each replica: its CPU cores and threads; left out, its replicas share what
    is left.

    `prepared` is a folder that `stageline quantize` wrote: a recipe with what was measured of it, and perhaps weights.
    """

    precision: Precision
    prepared: str | None = Field(None, min_length=1)
    replicas: Replicas = Replicas()
    cores: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _prepared_fits(self) -> Self:
        if self.precision == "fp32" and self.prepared is not None:
            raise ValueError("fp32 is what others are measured against: it is served as it is, without 'prepared'")
        if self.precision == "int8-static" and self.prepared is None:
            raise ValueError("int8-static needs scales from calibration: name the folder that holds them, 'prepared'")
        return self

    @property
    def name(self) -> str:
        return self.precision


class Promise(_Section):
    """A model's objective, in milliseconds: until the first token and for each one after it, or for a whole answer."""

    ttft_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    tpot_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    latency_ms: float | None = Field(None, gt=0, allow_inf_nan=False)


class Gate(_Section):
    """The most that a variant may lose against fp32: a share of the perplexity, accuracy as a share of all texts,
    points of BLEU, and for embeddings the least mean cosine. What loses more is not served."""

    max_perplexity_increase: float = Field(0.05, ge=0)
    max_accuracy_drop: float = Field(0.005, ge=0)
    max_bleu_drop: float = Field(0.3, ge=0)
    min_cosine: float = Field(0.99, le=1)


Task = Literal["text-generation", "text-classification", "embedding", "translation"]

_GENERATING = frozenset({"text-generation"})
_DECODING = frozenset({"text-generation", "translation"})
_TRANSLATING = frozenset({"translation"})
# Keys that mean something for some tasks only.
_TASKS_OF_KEY: dict[str, frozenset[str]] = {
    "prefix_cache": _GENERATING,
    "kv_cache": _DECODING,
    "max_running": _DECODING,
    "languages": _TRANSLATING,
    "max_new_tokens": _TRANSLATING,
}
_TTFT_MS, _TPOT_MS, _LATENCY_MS = 500.0, 50.0, 200.0  # what is promised where the file says nothing
# What a task takes where the file says nothing: tokens of a step, and requests (texts, sentences) that wait.
_DEFAULTS: dict[str, dict[str, int]] = {
    "text-generation": {"max_batch_tokens": 512, "max_queue": 256, "kv_cache": 512 << 20},
    "text-classification": {"max_batch_tokens": 1024, "max_queue": 8192},
    "embedding": {"max_batch_tokens": 1024, "max_queue": 8192},
    "translation": {"max_batch_tokens": 1024, "max_queue": 4096, "kv_cache": 128 << 20},
}


class Model(_Section):
    """One model. `kv_cache` is per replica; `max_queue` counts the requests that wait in a replica."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=100)
    task: Task = "text-generation"
    source: str = Field(min_length=1)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    changes: str | None = Field(None, min_length=1)
    languages: Annotated[tuple[str, ...], BeforeValidator(_items)] | None = None
    variants: Annotated[tuple[Variant, ...], BeforeValidator(_items)] = (Variant(precision="bf16"),)
    gate: Gate = Gate()
    kv_cache: Size = Field(0, ge=1 << 20)
    max_model_len: int | None = Field(None, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)
    max_batch_tokens: int = Field(512, ge=1)
    max_running: int = Field(64, ge=1)
    max_queue: int = Field(256, ge=1)
    prefix_cache: bool = True
    objective: Promise = Promise()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {**_DEFAULTS.get(str(data.get("task", "text-generation")), _DEFAULTS["text-generation"]), **data}

    @model_validator(mode="after")
    def _keys_fit_the_task(self) -> Self:
        for key, tasks in _TASKS_OF_KEY.items():
            if key in self.model_fields_set and self.task not in tasks:
                raise ValueError(f"'{key}' means nothing for the task {self.task}; leave it out")
        return self

    @model_validator(mode="after")
    def _objective_fits_the_task(self) -> Self:
        known = {"ttft_ms", "tpot_ms"} if self.task in _GENERATING else {"latency_ms"}
        for key in sorted(self.objective.model_fields_set - known):
            raise ValueError(
                f"'objective.{key}' means nothing for the task {self.task}; known there: {', '.join(sorted(known))}"
            )
        return self

    @model_validator(mode="after")
    def _variants_differ(self) -> Self:
        _refuse_twice("precision", [variant.name for variant in self.variants])
        return self

    @model_validator(mode="after")
    def _one_is_awake(self) -> Self:
        if not any(variant.replicas.min for variant in self.variants):
            raise ValueError("every variant has replicas.min 0; one must always run, to answer while others start")
        return self

    @model_validator(mode="after")
    def _languages_are_pairs(self) -> Self:
        for pair in self.languages or ():
            if not _PAIR.fullmatch(pair):
                raise ValueError(f"'{pair}' is not a pair of languages; write two codes, as in en-de")
        return self

    @property
    def pairs(self) -> tuple[tuple[str, str], ...] | None:
        """`languages` taken apart: (source, target)."""
        if self.languages is None:
            return None
        return tuple((source, target) for source, _, target in (pair.partition("-") for pair in self.languages))

    @property
    def promised(self) -> Objective:
        """`objective`, with what is left open filled in."""
        asked = self.objective
        if self.task in _GENERATING:
            return Objective((asked.ttft_ms or _TTFT_MS) / 1000, (asked.tpot_ms or _TPOT_MS) / 1000)
        return Objective((asked.latency_ms or _LATENCY_MS) / 1000)

    def with_cores(self, left: int) -> Model:
        """A copy in which the replicas of a variant that leaves `cores` open share those that are `left`."""
        variants = tuple(
            variant.model_copy(update={"cores": variant.cores or max(1, left // variant.replicas.max)})
            for variant in self.variants
        )
        return self.model_copy(update={"variants": variants})

    def engine_config(self, variant: Variant, *, cores: int) -> EngineConfig:
        """The settings of one replica's engine, for text generation."""
        return EngineConfig(
            precision=variant.precision,
            threads=cores,
            kv_cache_bytes=self.kv_cache,
            max_model_len=self.max_model_len,
            max_batch_tokens=self.max_batch_tokens,
            max_running=self.max_running,
            max_waiting=self.max_queue,
            prefix_cache=self.prefix_cache,
        )

    def encoder_config(self, variant: Variant, *, cores: int) -> EncoderConfig:
        """The same for classification and embeddings."""
        return EncoderConfig(
            precision=variant.precision,
            threads=cores,
            max_model_len=self.max_model_len,
            max_batch_tokens=self.max_batch_tokens,
            max_waiting=self.max_queue,
        )

    def seq2seq_config(self, variant: Variant, *, cores: int) -> Seq2SeqConfig:
        """The same for translation."""
        return Seq2SeqConfig(
            precision=variant.precision,
            threads=cores,
            cache_bytes=self.kv_cache,
            max_model_len=self.max_model_len,
            max_new_tokens=self.max_new_tokens,
            max_batch_tokens=self.max_batch_tokens,
            max_running=self.max_running,
            max_waiting=self.max_queue,
        )


class Http(_Section):
    """The front door. Loopback by default: anybody who reaches it may use it."""

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8000, ge=1, le=65535)
    max_body: Size = Field(8 << 20, ge=1 << 10)


class Settings(_Section):
    """The whole file."""

    models: Annotated[tuple[Model, ...], BeforeValidator(_items)]
    http: Http = Http()

    @model_validator(mode="after")
    def _models_differ(self) -> Self:
        _refuse_twice("name", [model.name for model in self.models])
        return self

    def with_http(self, *, host: str | None = None, port: int | None = None) -> Settings:
        """A copy that listens elsewhere; None leaves what is set. Raises `ConfigError`."""
        changed = {"host": host, "port": port}
        try:
            http = Http(**{**self.http.model_dump(), **{key: to for key, to in changed.items() if to is not None}})
        except ValidationError as error:
            problem = error.errors()[0]
            raise ConfigError(f"--{problem['loc'][0]}: {_plain(problem)}.", param=str(problem["loc"][0])) from None
        return self.model_copy(update={"http": http})

    def with_cores(self, available: int) -> Settings:
        """A copy in which every variant has its `cores`.

        What is left open is shared evenly among a variant's replicas, at their most: more threads than cores would make
        all of them slower. Different variants share the cores, of one model too: while the best one keeps up the others
        have little to do, and where all are busy their threads do not wait for each other.
        Raises `ConfigError` when the cores do not suffice for the replicas that always run.
        """
        variants = [variant for model in self.models for variant in model.variants]
        given = sum(variant.replicas.min * (variant.cores or 0) for variant in variants)
        always = given + max((variant.replicas.min for variant in variants if not variant.cores), default=0)
        if always > available:
            raise ConfigError(
                f"The replicas that always run need {always} cores and there are {available}: lower replicas.min or "
                "cores, or serve fewer models."
            )
        left = available - sum(variant.replicas.max * (variant.cores or 0) for variant in variants)
        return self.model_copy(update={"models": tuple(model.with_cores(left) for model in self.models)})

    def reserved_share(self, available: int) -> float:
        """How much of their `cores` replicas can reserve so that all find a place, at their most: at most 1."""
        wanted = sum(v.replicas.max * (v.cores or 0) for model in self.models for v in model.variants)
        return min(1.0, available / wanted) if wanted else 1.0


def load_settings(path: Path) -> Settings:
    """Read and check a configuration file; relative model paths count from its folder.

    Raises `ConfigError` with one line for each fault: `file:line: key: what is wrong`.
    """
    document = YamlDocument(path)
    if not isinstance(document.data, dict):
        raise ConfigError(f"{path}: this is not a configuration; it needs a key 'models' (see {DEMO_CONFIG.name}).")
    try:
        settings = Settings.model_validate(document.data)
    except ValidationError as error:
        problems = error.errors()
        lines = [f"{path}:{document.line_of(problem['loc'])}: {_explain(problem)}" for problem in problems]
        raise ConfigError("\n".join(lines), param=show(problems[0]["loc"]) or None) from None
    models = tuple(
        model.model_copy(
            update={
                "source": _from_folder(model.source, path.parent),
                "changes": None if model.changes is None else _from_folder(model.changes, path.parent),
                "variants": tuple(_located(variant, path.parent) for variant in model.variants),
            }
        )
        for model in settings.models
    )
    return settings.model_copy(update={"models": models})


def _refuse_twice(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} '{twice[0]}' is there twice")


def _from_folder(source: str, folder: Path) -> str:
    if source.startswith(("pypi:", "hf:")):
        return source
    return str((folder / Path(source).expanduser()).resolve())


def _located(variant: Variant, folder: Path) -> Variant:
    if variant.prepared is None:
        return variant
    return variant.model_copy(update={"prepared": str((folder / Path(variant.prepared).expanduser()).resolve())})


def _explain(problem: Any) -> str:
    at: KeyPath = problem["loc"]
    if problem["type"] == "extra_forbidden":
        known = sorted(_known_keys(at[:-1]))
        near = difflib.get_close_matches(str(at[-1]), known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}."
        return f"{show(at)}: unknown key; {hint}"
    return f"{show(at) or 'file'}: {_plain(problem)}."


def _plain(problem: Any) -> str:
    """pydantic's complaint in this project's words where they say more."""
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return "this key is needed"
        case "literal_error":
            return f"{problem['input']!r} is not one of {context['expected']}"
        case "value_error":
            return str(context["error"])
        case _:
            message = str(problem["msg"])
            return f"{message[0].lower()}{message[1:]}, not {_shorten(problem['input'])}"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _known_keys(at: KeyPath) -> list[str]:
    """Names that may stand below the key path `at`."""
    section: Any = Settings
    for part in at:
        if isinstance(part, str):
            section = section.model_fields[part].annotation
        else:
            section = get_args(section)[0]
        if get_origin(section) in (Union, types.UnionType):
            section = next(kind for kind in get_args(section) if kind is not type(None))
    return list(section.model_fields)
