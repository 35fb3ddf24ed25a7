"""Everything that is measured of one variant, put together as its quality.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress as Bar

from cluster.training.data import read_labelled
from deployments.bench.machine import provenance
from deployments.evaluate import check_labels, evaluate, require_reference
from deployments.measuring.inputs import Data, read_samples
from deployments.measuring.speed import measure_speed
from deployments.preflight import weight_bytes
from deployments.quality import Quality, Side
from deployments.settings import Model, Variant
from engine.checkpoint import open_checkpoint
from engine.encoder.describe import describe
from engine.quality.compare import Comparison, compare
from engine.quality.load import open_probe
from engine.quality.samples import Sample
from engine.text.translation import open_translation_text

BEAMS = 4  # of a translator's second measurement


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a variant in its files, and the base that it was made from, with the digests of both."""

    model: Model
    variant: Variant
    path: Path
    base: Path
    base_digest: str
    recipe_digest: str | None

    @property
    def reference(self) -> Variant:
        return Variant(precision="fp32", cores=self.variant.cores)


def measurable(model: Model, base: Path, data: Data) -> list[Sample]:
    """The samples to measure on. Raises ConfigError where the data does not fit the model: before hours are spent."""
    if model.task == "translation":
        require_reference(data.reference)
    if model.task == "text-classification":
        with open_checkpoint(base) as checkpoint:
            check_labels(model, describe(checkpoint, model.task), read_labelled(data.path)[: data.count])
    return read_samples(model, base, data)


def measure(subject: Subject, data: Data, samples: Sequence[Sample], rounds: int, console: Console) -> Quality:
    """Scores of both, how far their predictions are apart, and in `rounds` turns their speed; 0 leaves that out.
    `samples` are those of the data, see `measurable`. Raises CheckpointError and EngineFailed."""
    model, variant, reference = subject.model, subject.variant, subject.reference
    assert variant.cores is not None
    torch.set_num_threads(variant.cores)
    sides = ((variant, subject.path), (reference, subject.base))
    with Bar(console=console) as bar:
        found = _compared(subject, samples, bar)
        scores = [_scores(model, side, path, data, bar) for side, path in sides]
    if model.task == "text-generation":
        assert found.variant_perplexity is not None
        assert found.reference_perplexity is not None
        scores = [{"perplexity": found.variant_perplexity}, {"perplexity": found.reference_perplexity}]
    if model.task == "embedding":
        scores = [{"cosine": found.cosine}, {"cosine": 1.0}]
    texts = [sample.tokens for sample in samples]
    paces = measure_speed(model, sides, texts, rounds, console) if rounds else [None, None]
    here = {**provenance(), "threads": variant.cores}
    both = [
        Side(
            precision=side.precision,
            scores=score,
            size_bytes=weight_bytes(path, side.precision),
            load_s=None if pace is None else round(pace.load_s, 3),
            speed={} if pace is None else pace.speed,
        )
        for (side, path), score, pace in zip(sides, scores, paces, strict=True)
    ]
    compared = model.task != "embedding"
    return Quality(
        model=model.name,
        task=model.task,
        base=subject.base_digest,
        recipe=subject.recipe_digest,
        data=data.records(len(samples)),
        variant=both[0],
        reference=both[1],
        rows=found.rows,
        kl=found.kl if compared else None,
        agreement=found.agreement if compared else None,
        origin=here,
        speed_origin=here if rounds else {},
    )


def _compared(subject: Subject, samples: Sequence[Sample], bar: Bar) -> Comparison:
    task = bar.add_task(f"{subject.variant.name} against fp32", total=len(samples))
    variant = open_probe(subject.path, subject.model.task, subject.variant.precision)
    reference = open_probe(subject.base, subject.model.task, "fp32")
    return compare(reference, variant, samples, lambda done, total: bar.update(task, completed=done, total=total))


def _scores(model: Model, variant: Variant, path: Path, data: Data, bar: Bar) -> dict[str, float]:
    """The task's own scores; {} where the comparison gives them."""

    def score(beams: int) -> dict[str, Any]:
        task = bar.add_task(f"{variant.name}, {beams} beams" if beams > 1 else variant.name, total=None)
        return evaluate(
            model,
            variant,
            path,
            data.path,
            data.reference,
            beams,
            lambda done, total: bar.update(task, completed=done, total=total),
            data.count,
        )

    match model.task:
        case "text-classification":
            return {"accuracy": score(1)["accuracy"]}
        case "translation":
            found: dict[str, float] = {}
            own = own_beams(model, path)
            for beams in sorted({own, 1, BEAMS}):
                given = score(beams)
                ending = "" if beams == own else f"_{beams}_beams" if beams > 1 else "_greedy"
                found |= {f"{name}{ending}": given[name] for name in ("bleu", "chrf")}
            return found
    return {}


def own_beams(model: Model, path: Path) -> int:
    """How many beams a translator searches with where a request says nothing."""
    with open_checkpoint(path) as checkpoint:
        return open_translation_text(checkpoint, model.pairs).decoding_defaults.beams
