"""Data files as samples of a model, for measuring and for calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.training.data import digest, read_labelled, read_lines, read_pairs
from deployments.evaluate import Progress, translate
from deployments.quality import DataFile
from deployments.settings import Model, Variant
from engine.checkpoint import Checkpoint, open_checkpoint
from engine.encoder.describe import describe
from engine.errors import ConfigError
from engine.models.seq2seq import seq2seq_family_of
from engine.quality.load import longest
from engine.quality.samples import Sample, sentences, texts, windows
from engine.seq2seq.load import read_vocabulary
from engine.text.translation import open_translation_text


@dataclass(frozen=True, slots=True)
class Data:
    """A file, of a translator with its references, and how much of it is taken: the first `count` windows, texts or
    sentences, None for all."""

    path: Path
    reference: Path | None = None
    count: int | None = None

    def records(self, count: int) -> tuple[DataFile, ...]:
        """What quality.json says of it; `count` is what there was."""
        files = [path for path in (self.path, self.reference) if path is not None]
        return tuple(DataFile(name=path.name, sha256=digest(path), count=count) for path in files)


def read_samples(model: Model, path: Path, data: Data) -> list[Sample]:
    """The samples of a file for the model at `path`. Raises ConfigError where the file does not fit the task."""
    with open_checkpoint(path) as checkpoint:
        source, target = longest(checkpoint, model.task)
        match model.task:
            case "text-generation":
                return windows(checkpoint.tokenizer(), "\n".join(read_lines(data.path)), source)[: data.count]
            case "translation":
                if data.reference is None:
                    raise ConfigError("A translator is measured against a reference: give it with --reference.")
                text = open_translation_text(checkpoint, model.pairs)
                if len(text.pairs) != 1:
                    raise ConfigError(f"{model.name} translates between several languages: name one in `languages`.")
                given, references = (lines[: data.count] for lines in read_pairs(data.path, data.reference))
                return sentences(text, given, references, start_token(checkpoint), (source, target))
            case task:
                given = read_texts(data.path)[: data.count]
                return texts(checkpoint.tokenizer(), describe(checkpoint, task), given, source)


def read_texts(path: Path) -> list[str]:
    """The texts of a CSV file of text,label, or of a file with one a line; empty lines are left out."""
    if path.suffix == ".csv":
        return [row.text for row in read_labelled(path)]
    return [line for line in read_lines(path) if line.strip()]


def self_translated(
    model: Model, variant: Variant, path: Path, given: Sequence[str], progress: Progress
) -> list[Sample]:
    """Sentences with the model's own greedy translations as targets: what it sees when it is at work."""
    text, found = translate(model, variant, path, given, 1, progress)
    source, target = text.pairs[0]
    with open_checkpoint(path) as checkpoint:
        most, longest_target = longest(checkpoint, model.task)
        arch = seq2seq_family_of(checkpoint.config).architecture(checkpoint.config)
        start, end = start_token(checkpoint), read_vocabulary(checkpoint, arch).ends[0]
    return [
        Sample(text.encode(sentence, source, target)[0][:most], (start, *tokens, end)[:longest_target])
        for sentence, tokens in zip(given, found, strict=True)
    ]


def start_token(checkpoint: Checkpoint) -> int:
    """The token that a translator's decoding starts with."""
    arch = seq2seq_family_of(checkpoint.config).architecture(checkpoint.config)
    return read_vocabulary(checkpoint, arch).start
