"""From a configuration to the files that each variant is served from: what was measured of it comes first, then it is
held against the gate, and only what passes is quantized."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments.gate import Verdict, check_gate
from deployments.quality import Quality, read_quality
from deployments.settings import Model, Settings, Variant
from deployments.sources.prepared import prepared
from deployments.sources.weights import weights_digest
from engine.checkpoint.prepared import FILE as PREPARED
from engine.config import needs_preparing
from engine.errors import CheckpointError, ConfigError
from engine.quantization.recipe import FILE as RECIPE
from engine.quantization.recipe import Recipe, load_recipe
from engine.quantization.weight import SCHEMES

Key = tuple[str, str]  # a model's name and a variant's
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Judged:
    """A variant that may be served: its base, what quantizes it (None for nothing), a folder that has its weights
    already, and the gate's verdict."""

    base: Path
    base_digest: str
    recipe: Recipe | None
    ready: Path | None
    verdict: Verdict


def judge(
    settings: Settings, paths: Mapping[str, Path], *, allow_unmeasured: bool = False, gpu: bool = False
) -> dict[Key, Judged]:
    """Every variant of the configuration; `paths` are the models' files by name. Writes nothing.

    Raises ConfigError, with the figures, for the first that may not be served; CheckpointError for damaged folders.
    """
    found: dict[Key, Judged] = {}
    for model in settings.models:
        digest = weights_digest(paths[model.name])
        for variant in model.variants:
            if variant.precision == "fp8" and not gpu:
                raise ConfigError(
                    f"{model.name}:fp8 needs a GPU, and there is none here: use int8-dynamic on a CPU.",
                    param="precision",
                )
            found[model.name, variant.name] = _judge(model, variant, paths[model.name], digest, allow_unmeasured)
    return found


def _judge(model: Model, variant: Variant, base: Path, digest: str, allow_unmeasured: bool) -> Judged:
    name = f"{model.name}:{variant.name}"
    folder = None if variant.prepared is None else Path(variant.prepared)
    recipe, quality, ready = None, None, None
    if folder is not None:
        recipe, quality = _read(name, variant, folder)
        ready = folder if (folder / PREPARED).exists() else None
    elif needs_preparing(variant.precision):
        recipe = default_recipe(variant)
    verdict = check_gate(
        name,
        quality,
        variant.precision,
        model.gate,
        digest,
        None if recipe is None else recipe.digest(),
        allow_unmeasured=allow_unmeasured,
    )
    return Judged(base, digest, recipe, ready, verdict)


def _read(name: str, variant: Variant, folder: Path) -> tuple[Recipe | None, Quality | None]:
    if not folder.is_dir():
        raise ConfigError(f"{name}: there is no folder {folder}; `stageline quantize` makes it.", param="prepared")
    quality = read_quality(folder)
    if not needs_preparing(variant.precision):
        return None, quality
    if not (folder / RECIPE).exists():
        raise ConfigError(f"{name}: {folder} has no {RECIPE}; `stageline quantize` writes one.", param="prepared")
    try:
        recipe = load_recipe(folder)
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error.message}") from error
    if recipe.precision != variant.precision:
        raise ConfigError(f"{name}: the recipe in {folder} is one for {recipe.precision}.", param="prepared")
    return recipe, quality


def default_recipe(variant: Variant) -> Recipe:
    """Of a quantized variant without a folder: what needs no data."""
    assert variant.precision in SCHEMES
    return Recipe(variant.precision)


def files_of(judged: Mapping[Key, Judged], report: Report = lambda doing: None) -> dict[Key, Path]:
    """Each variant's own files; those that are not there are made, which takes its time the first time."""
    return {key: _files(key, one, report) for key, one in judged.items()}


def own_files(model: Model, variant: Variant, base: Path, report: Report = lambda doing: None) -> Path:
    """One variant's files, for measuring it: the gate is not asked. `base` are the model's. Raises as `judge` does."""
    alone = Settings.model_construct(models=(model.model_copy(update={"variants": (variant,)}),))
    (path,) = files_of(judge(alone, {model.name: base}, allow_unmeasured=True), report).values()
    return path


def _files(key: Key, one: Judged, report: Report) -> Path:
    if one.recipe is None:
        return one.base
    if one.ready is not None:
        return one.ready
    name = ":".join(key)
    return prepared(
        one.base,
        one.base_digest,
        one.recipe,
        progress=lambda done: report(f"Quantizing {name}, {done} products done ..."),
    )
