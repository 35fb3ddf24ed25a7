"""`stageline evaluate`: how good a model is on labelled data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from deployments.cli.fetch import ConfigArgument, fetch_models
from deployments.settings import DEMO_CONFIG, Model, Settings, Variant, load_settings
from engine.errors import ConfigError


def evaluate(
    config: ConfigArgument = None,
    model: Annotated[str, typer.Option(help="Which of the configuration's models, or model:variant.")] = "",
    data: Annotated[
        Path | None,
        typer.Option(
            help="A text for a generator; a CSV file with a header text,label for a classifier; sentences, one a line, "
            "for a translator."
        ),
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Their translations, line by line.")] = None,
    beams: Annotated[int, typer.Option(min=1, help="Beams of a translator; 1 is greedy.")] = 1,
) -> None:
    """Measure perplexity, accuracy, or BLEU and chrF, as a replica would compute it. The last line printed is JSON."""
    from cluster.node import available_cores
    from deployments.bench.machine import provenance
    from deployments.evaluate import evaluate as measure
    from deployments.variant_files import own_files

    if data is None:
        raise ConfigError("What to measure on? Give a file with --data.")
    console = Console(stderr=True)
    settings = load_settings(config or DEMO_CONFIG).with_cores(available_cores())
    chosen, variant = choose(settings, model)
    base = fetch_models(settings.model_copy(update={"models": (chosen,)}), console)[chosen.name]
    path = own_files(chosen, variant, base, console.print)
    with Progress(console=console) as bar:
        task = bar.add_task(f"{chosen.name}:{variant.name}", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        figures = measure(chosen, variant, path, data, reference, beams, show)
    shown = ", ".join(f"{key} {value:.4g}" for key, value in figures.items() if isinstance(value, float))
    console.print(f"{chosen.name}:{variant.name} on {data}: [bold]{shown}[/]", highlight=False)
    result = {"model": chosen.name, "variant": variant.name, "data": data.name, **figures, **provenance()}
    typer.echo(json.dumps(result))


def choose(settings: Settings, asked: str) -> tuple[Model, Variant]:
    """The model and variant of that name; its first variant, and the only model, may be left out."""
    name, _, wanted = asked.partition(":")
    models = [model for model in settings.models if model.name == name or not name]
    if len(models) != 1:
        known = ", ".join(model.name for model in settings.models)
        fault = f"There is no model {name} here" if name else "Several models are configured"
        raise ConfigError(f"{fault}: choose with --model one of {known}.", param="model")
    variants = [variant for variant in models[0].variants if variant.name == wanted or not wanted]
    if not variants:
        known = ", ".join(variant.name for variant in models[0].variants)
        raise ConfigError(f"{name} has no variant {wanted}; it has {known}.", param="model")
    return models[0], variants[0]
