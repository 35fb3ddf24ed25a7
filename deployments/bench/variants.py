"""All variants of a model in one run, fp32 beside them: what each precision is worth on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from deployments.bench.machine import provenance
from deployments.bench.texts import tokens_of
from deployments.cli.fetch import fetch_models
from deployments.measuring.speed import Pace, measure_speed
from deployments.quality import Quality, read_quality, write_quality
from deployments.settings import Model, Settings, Variant
from deployments.variant_files import own_files
from engine.errors import ConfigError

REFERENCE = "fp32"


@dataclass(frozen=True, slots=True)
class Trial:
    """What is measured: a model's variants, on the texts of `data` where the task takes texts, with so many threads."""

    model: Model
    data: Path | None
    rounds: int
    threads: int


def bench_variants(settings: Settings, trial: Trial, console: Console) -> dict[str, Any]:
    """How fast each variant is, and how many times as fast as fp32."""
    model = trial.model
    base = fetch_models(settings.model_copy(update={"models": (model,)}), console)[model.name]
    texts = []
    if model.task != "text-generation":
        if trial.data is None:
            raise ConfigError(f"What to measure {model.name} with? Give a file with --data.", param="data")
        texts = tokens_of(model, base, trial.data)
    variants = {REFERENCE: Variant(precision="fp32")} | {variant.name: variant for variant in model.variants}
    sides = [
        (variant.model_copy(update={"cores": trial.threads}), own_files(model, variant, base, console.print))
        for variant in variants.values()
    ]
    paces = dict(zip(variants, measure_speed(model, sides, texts, trial.rounds, console), strict=True))
    return {
        "benchmark": "variants",
        **provenance(),
        "model": model.name,
        "threads": trial.threads,
        "rounds": trial.rounds,
        "variants": {
            name: {"load_s": pace.load_s, "speed": pace.speed, "times_fp32": times(pace, paces[REFERENCE])}
            for name, pace in paces.items()
        },
    }


def times(pace: Pace, reference: Pace) -> dict[str, float]:
    """How many times as fast, by the figure's name."""
    return {name: value / reference.speed[name] for name, value in pace.speed.items()}


def write_speeds(model: Model, result: Mapping[str, Any]) -> dict[Path, Quality]:
    """Puts a result's speeds into the quality.json of each variant's folder; these by folder. Variants of which no
    quality was measured are left out."""
    written = {}
    origin = {key: result[key] for key in (*provenance(), "threads")}
    reference = result["variants"][REFERENCE]
    for variant in model.variants:
        folder = None if variant.prepared is None else Path(variant.prepared)
        quality = None if folder is None else read_quality(folder)
        if folder is None or quality is None:
            continue
        own = result["variants"][variant.name]
        found = {
            "variant": quality.variant.model_copy(update={key: own[key] for key in ("load_s", "speed")}),
            "reference": quality.reference.model_copy(update={key: reference[key] for key in ("load_s", "speed")}),
            "speed_origin": origin,
        }
        quality = quality.model_copy(update=found)
        write_quality(quality, folder)
        written[folder] = quality
    return written
