"""Options that the kinds of `stageline finetune` share, and what becomes of their words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from cluster.training.recipe import Recipe

Schedule = Literal["inverse-sqrt", "linear", "cosine", "constant"]
PrecisionChoice = Literal["auto", "bf16", "fp32"]

Out = Annotated[Path, typer.Option(help="Folder of the run: checkpoints, metrics, loss.png; the result is OUT/model.")]
Base = Annotated[Path, typer.Option(help="Hugging Face folder to go on from (safetensors).")]
Valid = Annotated[Path | None, typer.Option(help="The same kind of file, for validation after each epoch.")]
Test = Annotated[Path | None, typer.Option(help="The same kind of file, for the quality told at the end.")]
TrainLayersOption = Annotated[str, typer.Option(help="head, all, or the number of top layers beside the head.")]
Epochs = Annotated[int, typer.Option(help="Times that the data is gone through.")]
LearningRate = Annotated[float, typer.Option(help="The highest learning rate.")]
Warmup = Annotated[int, typer.Option(help="Steps in which the learning rate rises to it.")]
ScheduleOption = Annotated[Schedule, typer.Option(help="How it falls afterwards.")]
WeightDecay = Annotated[float, typer.Option(help="AdamW's decay of weight matrices.")]
Average = Annotated[float, typer.Option(help="Decay of the moving average that is kept as the result; 0: none.")]
Patience = Annotated[int, typer.Option(help="Epochs without a better validation loss before it ends early; 0: never.")]
PrecisionOption = Annotated[PrecisionChoice, typer.Option(help="Of the products; weights and losses stay fp32.")]
Store = Annotated[Literal["bf16", "fp32"], typer.Option(help="Type of the stored weights.")]
Seed = Annotated[int, typer.Option(help="Of data order, new weights and dropout.")]
Smoothing = Annotated[float, typer.Option(min=0, max=1, help="Label smoothing.")]
TeacherFolder = Annotated[Path | None, typer.Option(help="Distill from this model's outputs.")]
TeacherShare = Annotated[float, typer.Option(help="The teacher's share of the loss; the labels have the rest.")]
Temperature = Annotated[float, typer.Option(help="Softens the teacher's distribution.")]
Workers = Annotated[int, typer.Option(min=1, help="Workers; the result does not depend on their number.")]
Threads = Annotated[int, typer.Option("--threads-per-worker", min=1, help="Cores of each worker.")]
Address = Annotated[
    str | None, typer.Option(help="Train on this Ray cluster (host:port, or auto) instead of a node of its own.")
]
CheckpointMinutes = Annotated[float, typer.Option(help="Between checkpoints; there is one after each epoch too.")]
LogSteps = Annotated[int, typer.Option(min=1, help="Steps between lines of the metrics file.")]
Title = Annotated[str, typer.Option(help="Title of the model card.")]
DataNote = Annotated[str, typer.Option(help="For the model card: the data's name, origin and licence.")]
Licence = Annotated[str, typer.Option(help="For the model card: the model's licence.")]
Limits = Annotated[str, typer.Option(help="For the model card: what the model is not for.")]
Verbose = Annotated[bool, typer.Option(help="Show what Ray and the workers log.")]


def recipe_of(values: dict[str, Any], precision: PrecisionChoice) -> Recipe:
    """The loop's recipe; `auto` becomes the precision that is faster here."""
    from cluster.training.precision import fastest_precision
    from cluster.training.recipe import Recipe

    return Recipe(**values, precision=fastest_precision() if precision == "auto" else precision)


def teacher_of(folder: Path | None, share: float, temperature: float, beams: int = 4) -> Any:
    """The teacher, where there is one."""
    from cluster.training.teachers import Teacher

    return None if folder is None else Teacher(folder.absolute(), share, temperature, beams)


def layers_of(text: str) -> Any:
    """`head`, `all` or a number."""
    if text in ("head", "all"):
        return text
    if text.isdigit():
        return int(text)
    raise typer.BadParameter(f"head, all, or a number of layers, not {text!r}.", param_hint="--train-layers")


def languages_of(text: str) -> tuple[str, str]:
    """The two codes of SOURCE-TARGET."""
    source, dash, target = text.partition("-")
    if not dash or not source or not target:
        raise typer.BadParameter(f"SOURCE-TARGET, for example en-de, not {text!r}.", param_hint="--languages")
    return source, target


def pair_of(source: Path | None, target: Path | None, name: str) -> tuple[Path, Path] | None:
    """Both files or none."""
    if source is None and target is None:
        return None
    if source is None or target is None:
        raise typer.BadParameter("both files of the pair are needed.", param_hint=f"--{name}-source, --{name}-target")
    return source.absolute(), target.absolute()


def absolute(path: Path | None) -> Path | None:
    """The path from the root: workers run in folders of their own."""
    return None if path is None else path.absolute()
