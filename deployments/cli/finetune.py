"""`stageline finetune`: train a classifier, a translator or a generator on Ray, and resume after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deployments.cli.finetune_options import (
    Address,
    Average,
    Base,
    CheckpointMinutes,
    DataNote,
    Epochs,
    LearningRate,
    Licence,
    Limits,
    LogSteps,
    Out,
    Patience,
    PrecisionOption,
    ScheduleOption,
    Seed,
    Smoothing,
    Store,
    TeacherFolder,
    TeacherShare,
    Temperature,
    Test,
    Threads,
    Title,
    TrainLayersOption,
    Valid,
    Verbose,
    Warmup,
    WeightDecay,
    Workers,
    absolute,
    languages_of,
    layers_of,
    pair_of,
    recipe_of,
    teacher_of,
)
from deployments.cli.training import begun_with, require_training_packages, run_training

if TYPE_CHECKING:
    from cluster.training.task import Task

finetune = typer.Typer(
    help="Train models on Ray. A killed training goes on where it stopped, with the same command.",
    no_args_is_help=True,
)


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
        recipe_of(
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
        valid=absolute(valid),
        test=absolute(test),
        kind=kind,
        layers=layers_of(train_layers),
        hold_out=hold_out,
        smoothing=smoothing,
        dropout=dropout,
        longest=longest,
        teacher=teacher_of(teacher, teacher_share, temperature),
        only_changes=only_changes,
        store=store,
    )
    card = {"title": title, "data": data_note, "licence": licence, "limits": limits}
    cadence = {"log_steps": log_steps, "checkpoint_minutes": checkpoint_minutes}
    _run(task, out, card, cadence, workers=workers, threads=threads, address=address, verbose=verbose)


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
        recipe_of(
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
        valid=pair_of(valid_source, valid_target, "valid"),
        test=pair_of(test_source, test_target, "test"),
        languages=languages_of(languages),
        size=MarianSize(vocabulary, width, feed_forward, heads, encoder_layers, decoder_layers, dropout),
        base=absolute(base),
        smoothing=smoothing,
        longest_example=longest,
        teacher=teacher_of(teacher, 1.0, 1.0, teacher_beams),
        translate_every=translate_every,
        store=store,
    )
    card = {"title": title, "data": data_note, "licence": licence, "limits": limits}
    cadence = {"log_steps": log_steps, "checkpoint_minutes": checkpoint_minutes}
    _run(task, out, card, cadence, workers=workers, threads=threads, address=address, verbose=verbose)


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
        recipe_of(
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
        valid=absolute(valid),
        test=absolute(test),
        layers=layers_of(train_layers),
        row_tokens=row_tokens,
        store=store,
    )
    card = {"title": title, "data": data_note, "licence": licence, "limits": limits}
    cadence = {"log_steps": log_steps, "checkpoint_minutes": checkpoint_minutes}
    _run(task, out, card, cadence, workers=workers, threads=threads, address=address, verbose=verbose)


def _run(
    task: Task,
    out: Path,
    card: dict[str, str],
    cadence: dict[str, Any],
    *,
    workers: int,
    threads: int,
    address: str | None,
    verbose: bool,
) -> None:
    from cluster.training.finish import About
    from cluster.training.recipe import Cadence, RunFolder
    from cluster.training.worker import Job

    about = About(command=begun_with(), **card)
    job = Job(task, RunFolder(out.absolute()), Cadence(**cadence), about, threads)
    run_training(job, workers=workers, address=address, verbose=verbose)
