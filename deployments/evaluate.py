"""Quality of a model on labelled data, computed by the engine in this process, as a server's replica would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from cluster.training.data import LabelledText, read_labelled, read_lines, read_pairs
from deployments.settings import Model, Variant
from engine.checkpoint import open_checkpoint
from engine.encoder.describe import EncoderInfo, describe
from engine.encoder.load import load_encoder_engine
from engine.encoder.request import EncodeRequest
from engine.errors import ConfigError
from engine.quality.compare import measure_perplexity
from engine.quality.load import longest, open_probe
from engine.quality.samples import windows
from engine.seq2seq.load import load_seq2seq_engine
from engine.seq2seq.request import TranslateRequest
from engine.steps import run_all
from engine.text.translation import TranslationText, open_translation_text

CHUNK = 256  # requests handed to an engine at a time
T = TypeVar("T")
Progress = Callable[[int, int], None]  # done, of how many


def evaluate(
    model: Model,
    variant: Variant,
    path: Path,
    data: Path,
    reference: Path | None,
    beams: int,
    progress: Progress,
    count: int | None = None,
) -> dict[str, Any]:
    """The figures that the task has: perplexity of a generator on a text; accuracy of a classifier on a CSV file; BLEU
    and chrF of a translator on sentences and their `reference`. On the first `count` windows, texts or sentences, or on
    all. Raises ConfigError and CheckpointError."""
    assert variant.cores is not None
    torch.set_num_threads(variant.cores)
    match model.task:
        case "text-generation":
            return _generation(variant, path, "\n".join(read_lines(data)), count, progress)
        case "text-classification":
            return _classification(model, variant, path, read_labelled(data)[:count], progress)
        case "translation":
            sources, references = (lines[:count] for lines in read_pairs(data, require_reference(reference)))
            return _translation(model, variant, path, sources, references, beams, progress)
    raise ConfigError(f"There is no measure for {model.task} by itself: `stageline quantize` compares variants.")


def require_reference(reference: Path | None) -> Path:
    """The file of a translator's references. Raises ConfigError where none was given."""
    if reference is None:
        raise ConfigError("A translator is measured against a reference: give it with --reference.")
    if find_spec("sacrebleu") is None:
        raise ConfigError("BLEU needs sacrebleu: pip install 'stageline[train]'.")
    return reference


def _generation(variant: Variant, path: Path, text: str, count: int | None, progress: Progress) -> dict[str, Any]:
    with open_checkpoint(path) as checkpoint:
        cut = windows(checkpoint.tokenizer(), text, longest(checkpoint, "text-generation")[0])[:count]
    found, tokens = measure_perplexity(open_probe(path, "text-generation", variant.precision), cut, progress)
    return {"windows": len(cut), "tokens": tokens, "perplexity": found}


def _classification(
    model: Model, variant: Variant, path: Path, rows: Sequence[LabelledText], progress: Progress
) -> dict[str, Any]:
    assert variant.cores is not None
    with open_checkpoint(path) as checkpoint:
        tokenizer = checkpoint.tokenizer()
        info = describe(checkpoint, "text-classification")
    check_labels(model, info, rows)
    engine = load_encoder_engine(path, model.encoder_config(variant, cores=variant.cores), "text-classification")
    right = done = 0
    for chunk in _chunks(rows):
        tokens = [tuple(tokenizer.encode(row.text))[: engine.limits.max_model_len] for row in chunk]
        found = run_all(engine, [EncodeRequest(str(i), text) for i, text in enumerate(tokens)])
        for row, result in zip(chunk, found, strict=True):
            assert result.values is not None
            right += info.labels[int(np.argmax(result.values))] == row.label
        done += len(chunk)
        progress(done, len(rows))
    return {"texts": len(rows), "accuracy": right / len(rows)}


def check_labels(model: Model, info: EncoderInfo, rows: Sequence[LabelledText]) -> None:
    """Raises ConfigError where accuracy cannot be told: several labels a text, or one that the model does not have."""
    if info.problem != "single":
        raise ConfigError(f"{model.name} has no single label a text: accuracy is not its measure.")
    unknown = sorted({row.label for row in rows} - set(info.labels))
    if unknown:
        raise ConfigError(f"{model.name} has no label {unknown[0]!r}, which the data has.")


def _translation(
    model: Model,
    variant: Variant,
    path: Path,
    sources: Sequence[str],
    references: Sequence[str],
    beams: int,
    progress: Progress,
) -> dict[str, Any]:
    from sacrebleu.metrics import BLEU, CHRF

    text, found = translate(model, variant, path, sources, beams, progress)
    translations = [text.decode(tokens) for tokens in found]
    bleu, chrf = BLEU(), CHRF()
    return {
        "sentences": len(sources),
        "beams": beams,
        "bleu": bleu.corpus_score(translations, [list(references)]).score,
        "chrf": chrf.corpus_score(translations, [list(references)]).score,
        "signature": str(bleu.get_signature()),
    }


def translate(
    model: Model, variant: Variant, path: Path, sources: Sequence[str], beams: int | None, progress: Progress
) -> tuple[TranslationText, list[tuple[int, ...]]]:
    """Translations into the model's one target language, as tokens; `beams` None is the model's own number."""
    assert variant.cores is not None
    with open_checkpoint(path) as checkpoint:
        text = open_translation_text(checkpoint, model.pairs)
    if len(text.pairs) != 1:
        raise ConfigError(f"{model.name} translates between several languages: name one pair in `languages`.")
    source, target = text.pairs[0]
    engine = load_seq2seq_engine(path, model.seq2seq_config(variant, cores=variant.cores))
    own = text.decoding_defaults
    decoding = replace(own, beams=beams or own.beams, hypotheses=1, temperature=0.0)
    decoding = replace(decoding, max_tokens=min(decoding.max_tokens, engine.limits.max_new_tokens))
    translations: list[tuple[int, ...]] = []
    for chunk in _chunks(sources):
        requests = []
        for i, sentence in enumerate(chunk):
            tokens, first = text.encode(sentence, source, target)
            forced = decoding if first is None else replace(decoding, first_token=first)
            requests.append(TranslateRequest(str(i), tokens, forced))
        for result in run_all(engine, requests):
            if result.error is not None:
                raise result.error
            translations.append(result.hypotheses[0].tokens)
        progress(len(translations), len(sources))
    return text, translations


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), CHUNK):
        yield items[at : at + CHUNK]
