"""`stageline finetune`: train a classifier, a translator or a generator on Ray, and resume after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deployments.cli.training import begun_with, require_training_packages, run_training

if TYPE_CHECKING:
    from cluster.training.recipe import Recipe
    from cluster.training.task import Task

finetune = typer.Typer(
    help="Train models on Ray. A killed training goes on where it stopped, with the same command.",
    no_args_is_help=True,
)

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


@finetune.command("classifier")
def classifier(
    base: Base,
    train: Annotated[Path, typer.Option(help="CSV file with a header: text,label.")],
    out: Out,
    valid: Valid = None,
    test: Test = None,
    hold_out: Annotated[float, typer.Option(help="Share of the training rows to validate on instead.")] = 0.0,
    kind: Annotated[
        Literal["single", "multi", "regression"], typer.Option(help="One label; labels joined by |; a number.")
    ] = "single",
    train_layers: TrainLayersOption = "all",
    only_changes: Annotated[bool, typer.Option("--only-changes", help="Store only what differs from BASE.")] = False,
    longest: Annotated[int, typer.Option(help="Tokens after which texts are cut.")] = 128,
    teacher: TeacherFolder = None,
    teacher_share: TeacherShare = 0.5,
    temperature: Temperature = 2.0,
    epochs: Epochs = 6,
    batch: Annotated[int, typer.Option(help="Texts of a step.")] = 32,
    micro_batch: Annotated[int, typer.Option(help="Texts computed at once; workers share a step's.")] = 16,
    learning_rate: LearningRate = 3e-4,
    warmup_steps: Warmup = 100,
    schedule: ScheduleOption = "cosine",
    weight_decay: WeightDecay = 0.01,
    smoothing: Smoothing = 0.1,
    dropout: Annotated[float | None, typer.Option(help="Of the head; the base's own if left out.")] = None,
    average: Average = 0.99,
    patience: Patience = 0,
    precision: PrecisionOption = "auto",
    store: Store = "bf16",
    seed: Seed = 1,
    workers: Workers = 1,
    threads: Threads = 1,
    address: Address = None,
    checkpoint_minutes: CheckpointMinutes = 5.0,
    log_steps: LogSteps = 10,
    title: Title = "",
    data_note: DataNote = "",
    licence: Licence = "",
    limits: Limits = "",
    verbose: Verbose = False,
) -> None:
    """Fine-tune an encoder into a classifier: its head, its top layers, or all of it."""
    require_training_packages()
    from cluster.training.classification import ClassificationTask

    task = ClassificationTask(
        _recipe(
            {
                "epochs": epochs,
                "batch": batch,
                "micro_batch": micro_batch,
                "unit": "examples",
                "learning_rate": learning_rate,
                "warmup_steps": warmup_steps,
                "schedule": schedule,
                "weight_decay": weight_decay,
                "betas": (0.9, 0.999),
                "average": average,
                "patience": patience,
                "seed": seed,
            },
            precision,
        ),
        base=base.absolute(),
        train=train.absolute(),
        valid=_absolute(valid),
        test=_absolute(test),
        kind=kind,
        layers=_layers(train_layers),
        hold_out=hold_out,
        smoothing=smoothing,
        dropout=dropout,
        longest=longest,
        teacher=_teacher(teacher, teacher_share, temperature),
        only_changes=only_changes,
        store=store,
    )
    card = {"title": title, "data": data_note, "licence": licence, "limits": limits}
    _run(task, out, card, workers, threads, address, (log_steps, checkpoint_minutes), verbose=verbose)


@finetune.command("translator")
def translator(
    source: Annotated[Path, typer.Option(help="Sentences, one a line.")],
    target: Annotated[Path, typer.Option(help="Their translations, one a line.")],
    out: Out,
    valid_source: Valid = None,
    valid_target: Valid = None,
    test_source: Test = None,
    test_target: Test = None,
    base: Annotated[Path | None, typer.Option(help="Model to go on from; a new one is made without it.")] = None,
    languages: Annotated[str, typer.Option(help="SOURCE-TARGET, in the tokenizer's codes.")] = "en-de",
    vocabulary: Annotated[int, typer.Option(help="New model: pieces of the joint vocabulary.")] = 6000,
    width: Annotated[int, typer.Option(help="New model: size of its vectors.")] = 256,
    feed_forward: Annotated[int, typer.Option(help="New model: inner size of its feed-forward layers.")] = 512,
    heads: Annotated[int, typer.Option(help="New model: attention heads.")] = 4,
    encoder_layers: Annotated[int, typer.Option(help="New model: layers of the encoder.")] = 4,
    decoder_layers: Annotated[int, typer.Option(help="New model: layers of the decoder.")] = 2,
    dropout: Annotated[float, typer.Option(help="New model: dropout.")] = 0.3,
    longest: Annotated[int, typer.Option(help="Longer pairs, in tokens of a side, are left out.")] = 128,
    teacher: TeacherFolder = None,
    teacher_beams: Annotated[int, typer.Option(help="Width of the teacher's beam search.")] = 4,
    epochs: Epochs = 30,
    batch: Annotated[int, typer.Option(help="Tokens of a step (of the longer side, with padding).")] = 4096,
    micro_batch: Annotated[int, typer.Option(help="Tokens computed at once; workers share a step's.")] = 1024,
    learning_rate: LearningRate = 2e-3,
    warmup_steps: Warmup = 600,
    schedule: ScheduleOption = "inverse-sqrt",
    weight_decay: WeightDecay = 1e-4,
    smoothing: Smoothing = 0.1,
    average: Average = 0.998,
    patience: Patience = 0,
    translate_every: Annotated[int, typer.Option(help="Epochs between BLEU on the validation data; 0: never.")] = 5,
    precision: PrecisionOption = "auto",
    store: Store = "bf16",
    seed: Seed = 1,
    workers: Workers = 1,
    threads: Threads = 1,
    address: Address = None,
    checkpoint_minutes: CheckpointMinutes = 5.0,
    log_steps: LogSteps = 10,
    title: Title = "",
    data_note: DataNote = "",
    licence: Licence = "",
    limits: Limits = "",
    verbose: Verbose = False,
) -> None:
    """Train a Marian translator from scratch, or go on with any encoder-decoder model (Marian, T5, M2M100, ...)."""
    require_training_packages()
    from cluster.training.translation import MarianSize, TranslationTask

    task = TranslationTask(
        _recipe(
            {
                "epochs": epochs,
                "batch": batch,
                "micro_batch": micro_batch,
                "unit": "tokens",
                "learning_rate": learning_rate,
                "warmup_steps": warmup_steps,
                "schedule": schedule,
                "weight_decay": weight_decay,
                "average": average,
                "patience": patience,
                "seed": seed,
            },
            precision,
        ),
        source=source.absolute(),
        target=target.absolute(),
        valid=_pair(valid_source, valid_target, "valid"),
        test=_pair(test_source, test_target, "test"),
        languages=_languages(languages),
        size=MarianSize(vocabulary, width, feed_forward, heads, encoder_layers, decoder_layers, dropout),
        base=_absolute(base),
        smoothing=smoothing,
        longest_example=longest,
        teacher=_teacher(teacher, 1.0, 1.0, teacher_beams),
        translate_every=translate_every,
        store=store,
    )
    card = {"title": title, "data": data_note, "licence": licence, "limits": limits}
    _run(task, out, card, workers, threads, address, (log_steps, checkpoint_minutes), verbose=verbose)


@finetune.command("generator")
def generator(
    base: Base,
    train: Annotated[Path, typer.Option(help="Plain text.")],
    out: Out,
    valid: Valid = None,
    test: Test = None,
    train_layers: TrainLayersOption = "all",
    row_tokens: Annotated[int, typer.Option(help="Tokens of each row that the text is cut into.")] = 256,
    epochs: Epochs = 1,
    batch: Annotated[int, typer.Option(help="Tokens of a step.")] = 8192,
    micro_batch: Annotated[int, typer.Option(help="Tokens computed at once; workers share a step's.")] = 1024,
    learning_rate: LearningRate = 1e-4,
    warmup_steps: Warmup = 20,
    schedule: ScheduleOption = "cosine",
    weight_decay: WeightDecay = 0.01,
    average: Average = 0.0,
    patience: Patience = 0,
    precision: PrecisionOption = "auto",
    store: Store = "bf16",
    seed: Seed = 1,
    workers: Workers = 1,
    threads: Threads = 1,
    address: Address = None,
    checkpoint_minutes: CheckpointMinutes = 5.0,
    log_steps: LogSteps = 10,
    title: Title = "",
    data_note: DataNote = "",
    licence: Licence = "",
    limits: Limits = "",
    verbose: Verbose = False,
) -> None:
    """Go on with a causal language model on a plain text."""
    require_training_packages()
    from cluster.training.generation import GenerationTask

    task = GenerationTask(
        _recipe(
            {
                "epochs": epochs,
                "batch": batch,
                "micro_batch": micro_batch,
                "unit": "tokens",
                "learning_rate": learning_rate,
                "warmup_steps": warmup_steps,
                "schedule": schedule,
                "weight_decay": weight_decay,
                "betas": (0.9, 0.95),
                "average": average,
                "patience": patience,
                "seed": seed,
            },
            precision,
        ),
        base=base.absolute(),
        train=train.absolute(),
        valid=_absolute(valid),
        test=_absolute(test),
        layers=_layers(train_layers),
        row_tokens=row_tokens,
        store=store,
    )
    card = {"title": title, "data": data_note, "licence": licence, "limits": limits}
    _run(task, out, card, workers, threads, address, (log_steps, checkpoint_minutes), verbose=verbose)


def _run(
    task: Task,
    out: Path,
    card: dict[str, str],
    workers: int,
    threads: int,
    address: str | None,
    cadence: tuple[int, float],
    *,
    verbose: bool,
) -> None:
    from cluster.training.finish import About
    from cluster.training.recipe import Cadence, RunFolder
    from cluster.training.worker import Job

    about = About(command=begun_with(), **card)
    log_steps, minutes = cadence
    job = Job(task, RunFolder(out.absolute()), Cadence(log_steps, minutes), about, threads)
    run_training(job, workers=workers, address=address, verbose=verbose)


def _recipe(values: dict[str, Any], precision: PrecisionChoice) -> Recipe:
    from cluster.training.precision import fastest_precision
    from cluster.training.recipe import Recipe

    return Recipe(**values, precision=fastest_precision() if precision == "auto" else precision)


def _teacher(folder: Path | None, share: float, temperature: float, beams: int = 4) -> Any:
    from cluster.training.teachers import Teacher

    return None if folder is None else Teacher(folder.absolute(), share, temperature, beams)


def _layers(text: str) -> Any:
    if text in ("head", "all"):
        return text
    if text.isdigit():
        return int(text)
    raise typer.BadParameter(f"head, all, or a number of layers, not {text!r}.", param_hint="--train-layers")


def _languages(text: str) -> tuple[str, str]:
    source, dash, target = text.partition("-")
    if not dash or not source or not target:
        raise typer.BadParameter(f"SOURCE-TARGET, for example en-de, not {text!r}.", param_hint="--languages")
    return source, target


def _pair(source: Path | None, target: Path | None, name: str) -> tuple[Path, Path] | None:
    if source is None and target is None:
        return None
    if source is None or target is None:
        raise typer.BadParameter("both files of the pair are needed.", param_hint=f"--{name}-source, --{name}-target")
    return source.absolute(), target.absolute()


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()
