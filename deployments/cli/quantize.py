"""`stageline quantize`: a model in few bits, and what that costs it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from deployments.cli.evaluate import choose
from deployments.cli.fetch import fetch_models
from deployments.cli.signals import Stopped, stopping
from deployments.settings import DEMO_CONFIG, Model, Variant, load_settings
from engine.config import needs_preparing
from engine.errors import ConfigError

if TYPE_CHECKING:
    from deployments.measuring.inputs import Data
    from deployments.quality import Quality
    from engine.quality.samples import Sample
    from engine.quantization.recipe import Recipe

Measurable = Literal["bf16", "int8-dynamic", "int8-static", "int8-weight", "int4-weight", "fp8"]


def quantize(
    model: Annotated[str, typer.Argument(help="Name of a model in the configuration.")],
    precision: Annotated[Measurable, typer.Option(help="bf16 is measured only.")],
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--eval",
            help="Data to measure on: a text for a generator, a CSV file text,label for a classifier, texts one a line "
            "for embeddings, sentences one a line for a translator.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Data to calibrate with, of the same kind, and not the same.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Translations of --eval, line by line.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file; the demo's if left out.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; variants/MODEL/PRECISION if left out.", show_default=False)
    ] = None,
    group: Annotated[int, typer.Option(help="Inputs that share a scale, of int8-weight and int4-weight.")] = 32,
    keep: Annotated[
        str, typer.Option(help="What stays higher: auto (by measured loss), none, or names: head,layers.0.*")
    ] = "auto",
    recipe_only: Annotated[
        bool, typer.Option("--recipe-only", help="Write the recipe and the figures without the weights.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=1, help="Windows, texts or sentences to measure on.")] = None,
    calibration_count: Annotated[int, typer.Option(min=1, help="The same for calibration.")] = 128,
    rounds: Annotated[int, typer.Option(min=0, help="Turns of the measurement of speed; 0 leaves it out.")] = 3,
) -> None:
    """Quantize a model, measure what is lost, and write a folder that a variant names as `prepared`.

    The last line printed is the measurement as JSON.
    """
    console = Console(stderr=True)
    if evaluation is None:
        raise ConfigError("What to measure on? Give a file with --eval.")
    order = Order(precision, group, keep, calibration, calibration_count, recipe_only, rounds)
    with stopping():
        try:
            from deployments.measuring.inputs import Data

            quality = _quantize(model, order, Data(evaluation, reference, count), config, out, console)
        except Stopped as stopped:
            console.print("Stopped; nothing was written.")
            raise typer.Exit(stopped.exit_status or 1) from None
    typer.echo(quality.model_dump_json())


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for."""

    precision: Measurable
    group: int
    keep: str
    calibration: Path | None
    calibration_count: int
    recipe_only: bool
    rounds: int


def _quantize(name: str, order: Order, data: Data, config: Path | None, out: Path | None, console: Console) -> Quality:
    from cluster.node import available_cores
    from cluster.training.data import read_lines
    from deployments.measuring.folder import check_out, written
    from deployments.measuring.measure import Subject, measurable, measure
    from deployments.measuring.table import table, verdict
    from deployments.quality import write_quality
    from deployments.sources.prepared import write_prepared
    from deployments.sources.weights import weights_digest

    settings = load_settings(config or DEMO_CONFIG).with_cores(available_cores())
    model, _ = choose(settings, name)
    target = out or Path("variants") / model.name.replace("/", "--") / order.precision
    check_out(target)
    variant = Variant(
        precision=order.precision,
        cores=available_cores(),
        prepared=str(target) if needs_preparing(order.precision) else None,
    )
    base = fetch_models(settings.model_copy(update={"models": (model,)}), console)[model.name]
    digest = weights_digest(base)
    samples = measurable(model, base, data)
    if order.calibration is not None and read_lines(order.calibration) == read_lines(data.path):
        console.print("[yellow]Warning:[/] calibrated and measured on the same data: the figures flatter.")
    with written(target) as folder:
        path, recipe = base, None
        if needs_preparing(order.precision):
            path = folder
            with Bar(console=console) as bar:
                recipe = _recipe(model, variant, order, base, bar)
                line = bar.add_task("Quantizing", total=None)
                write_prepared(base, digest, recipe, folder, lambda done: bar.update(line, completed=done))
        subject = Subject(model, variant, path, base, digest, None if recipe is None else recipe.digest())
        quality = measure(subject, data, samples, order.rounds, console)
        if order.recipe_only:
            _leave_recipe(folder)
        write_quality(quality, folder)
    console.print(table(quality))
    console.print(verdict(quality, model.gate), highlight=False, soft_wrap=True)
    console.print(f"Written to {target}", highlight=False, soft_wrap=True)
    draw(quality, target.parent, console)
    return quality


def _recipe(model: Model, variant: Variant, order: Order, base: Path, bar: Bar) -> Recipe:
    """Calibrated on the data given; without any, what needs none."""
    from deployments.measuring.recipes import Wish, make_recipe
    from engine.quantization.recipe import Recipe

    assert order.precision != "bf16"
    if order.calibration is None:
        if order.precision == "int8-static":
            raise ConfigError("int8-static needs data to find its scales with: give it with --calibration.")
        if order.keep not in ("auto", "none"):
            raise ConfigError("--keep needs --calibration.")
        return Recipe(order.precision, order.group)
    names = tuple(name.strip() for name in order.keep.split(",") if name.strip())
    if order.keep in ("auto", "none"):
        wish = Wish(order.precision, order.group, "auto" if order.keep == "auto" else "none")
    else:
        wish = Wish(order.precision, order.group, names)
    samples = _calibration(model, variant, base, order.calibration, order.calibration_count, bar)
    return make_recipe(base, model.task, wish, samples, bar)


def _calibration(model: Model, variant: Variant, base: Path, path: Path, count: int, bar: Bar) -> list[Sample]:
    from deployments.measuring.inputs import Data, read_samples, read_texts, self_translated

    if model.task != "translation":
        return read_samples(model, base, Data(path, count=count))
    line = bar.add_task("Translating for calibration", total=None)
    exact = Variant(precision="fp32", cores=variant.cores)
    texts = read_texts(path)[:count]
    return self_translated(model, exact, base, texts, lambda done, total: bar.update(line, completed=done, total=total))


def _leave_recipe(folder: Path) -> None:
    from engine.quantization.recipe import FILE, TENSORS

    for path in folder.iterdir():
        if path.name in (FILE, TENSORS):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def draw(quality: Quality, folder: Path, console: Console) -> None:
    """The picture of all variants that lie beside this one."""
    from deployments.measuring import picture

    try:
        drawn = picture.draw(picture.siblings(folder, quality), folder / picture.FILE)
    except ImportError:
        console.print("No picture: that needs matplotlib (pip install 'stageline\\[train]').", highlight=False)
        return
    if drawn:
        console.print(f"Quality against speed: {folder / picture.FILE}", highlight=False, soft_wrap=True)
