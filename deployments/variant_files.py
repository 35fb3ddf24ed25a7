"""From a configuration to the files that each variant is served from: what was measured of it comes first, then it is
held against the gate, and only what passes is quantized."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments.gate import Verdict, check_gate
from deployments.provision import BaseFiles, RecipeFile, VariantFiles
from deployments.quality import Quality, read_quality
from deployments.settings import Model, Settings, Variant
from deployments.sources.prepared import prepared, prepared_folder
from deployments.sources.weights import weights_digest
from engine.checkpoint.prepared import made_from
from engine.config import needs_preparing
from engine.errors import CheckpointError, ConfigError
from engine.quantization.recipe import FILE as RECIPE
from engine.quantization.recipe import Recipe, load_recipe
from engine.quantization.weight import SCHEMES

Key = tuple[str, str]  # a model's name and a variant's
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Judged:
    """A variant that may be served: its base, what quantizes it (None for nothing) and the folder that this was read
    from, a folder that has its weights already, and the gate's verdict."""

    base: Path
    base_digest: str
    recipe: Recipe | None
    ready: Path | None
    verdict: Verdict
    recipe_folder: Path | None = None


def judge(settings: Settings, paths: Mapping[str, Path], *, allow_unmeasured: bool = False) -> dict[Key, Judged]:
    """Every variant of the configuration; `paths` are the models' files by name. Writes nothing.

    Raises ConfigError, with the figures, for the first that may not be served; CheckpointError for damaged folders.
    """
    found: dict[Key, Judged] = {}
    for model in settings.models:
        digest = weights_digest(paths[model.name])
        for variant in model.variants:
            name = f"{model.name}:{variant.name}"
            if variant.precision == "fp8":
                raise ConfigError(
                    f"{name} needs a GPU, and replicas run on CPUs: use int8-dynamic there.", param="precision"
                )
            how = _how(name, variant, digest)
            recipe = None if how.recipe is None else how.recipe.digest()
            verdict = check_gate(
                name, how.quality, model, variant.precision, digest, recipe, allow_unmeasured=allow_unmeasured
            )
            found[model.name, variant.name] = Judged(
                paths[model.name], digest, how.recipe, how.ready, verdict, how.folder
            )
    return found


@dataclass(frozen=True, slots=True)
class _How:
    """How a variant's files come about (see `Judged`), and what was measured of it."""

    recipe: Recipe | None = None
    ready: Path | None = None
    folder: Path | None = None
    quality: Quality | None = None


def _how(name: str, variant: Variant, digest: str) -> _How:
    if variant.prepared is None:
        return _How(default_recipe(variant) if needs_preparing(variant.precision) else None)
    folder = Path(variant.prepared)
    recipe, quality = _read(name, variant, folder)
    # Weights that were made of another base are not this model's; the recipe makes them anew.
    return _How(recipe, folder if recipe is not None and made_from(folder) == digest else None, folder, quality)


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


def served_files(settings: Settings, judged: Mapping[Key, Judged]) -> dict[Key, VariantFiles]:
    """Each variant's own files, as whoever serves it is told of them: `files_of` has made them here, or each node makes
    its own."""
    return {
        (model.name, variant.name): _served(model, judged[model.name, variant.name])
        for model in settings.models
        for variant in model.variants
    }


def _served(model: Model, one: Judged) -> VariantFiles:
    base = BaseFiles(str(one.base), model.source, one.base_digest, model.sha256, model.changes)
    if one.recipe is None:
        return VariantFiles(base.path, base)
    folder = None if one.recipe_folder is None else str(one.recipe_folder)
    recipe = RecipeFile(one.recipe.precision, one.recipe.digest(), folder)
    path = one.ready or prepared_folder(one.base_digest, recipe.digest)
    return VariantFiles(str(path), base, recipe)


def own_files(model: Model, variant: Variant, base: Path, report: Report = lambda doing: None) -> Path:
    """One variant's files, for measuring it: the gate is not asked. `base` are the model's. Raises ConfigError and
    CheckpointError for folders that are missing or damaged."""
    digest = weights_digest(base)
    how = _how(f"{model.name}:{variant.name}", variant, digest)
    return _files((model.name, variant.name), Judged(base, digest, how.recipe, how.ready, Verdict(how.quality)), report)


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
