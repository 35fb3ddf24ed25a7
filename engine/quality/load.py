"""From files to a probe: a model of any task, without an engine around it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from engine.checkpoint import Checkpoint, open_checkpoint
from engine.config import Precision, compute_dtype
from engine.encoder.describe import describe
from engine.encoder.model import TextClassifier, TextEmbedder
from engine.kernels import Kernels, select_kernels
from engine.load import check_precision, return_freed_memory
from engine.models import load_classifier, load_decoder, load_encoder, read_architecture
from engine.models.seq2seq import load_seq2seq, seq2seq_family_of
from engine.models.transform import Transform
from engine.quality.probes import DecoderProbe, Probe, TextProbe, TranslationProbe
from engine.quality.samples import WINDOW
from engine.seq2seq.load import UNBOUNDED_LENGTH

Task = Literal["text-generation", "text-classification", "embedding", "translation"]


def open_probe(path: Path, task: Task, precision: Precision, *, device: str = "cpu") -> Probe:
    """The model at `path` as a server's replica would compute it. Raises CheckpointError and EngineFailed."""
    with open_checkpoint(path) as checkpoint:
        check_precision(checkpoint, precision)
        probe = load_probe(checkpoint, task, select_kernels(device, compute_dtype(precision)))
        return_freed_memory()
    return probe


def load_probe(checkpoint: Checkpoint, task: Task, kernels: Kernels, transform: Transform | None = None) -> Probe:
    """The model on kernels of one's own, such as those that observe; `transform` as in `load_decoder`. Takes samples of
    up to `longest(checkpoint, task)` tokens."""
    source, target = longest(checkpoint, task)
    match task:
        case "text-generation":
            return DecoderProbe(load_decoder(checkpoint, kernels, source, transform=transform), source)
        case "translation":
            return TranslationProbe(load_seq2seq(checkpoint, kernels, source, target, transform))
    info = describe(checkpoint, task)
    encoder = load_encoder(checkpoint, kernels, source, transform=transform)
    if task == "embedding":
        return TextProbe(TextEmbedder(encoder, info.pooling, info.normalize))
    return TextProbe(TextClassifier(encoder, load_classifier(checkpoint, kernels, len(info.labels), transform)))


def longest(checkpoint: Checkpoint, task: Task) -> tuple[int, int]:
    """The most tokens of a sample, and of its target, that a probe takes: windows are no longer than they need to be,
    everything else as long as the model allows."""
    match task:
        case "text-generation":
            return min(WINDOW, read_architecture(checkpoint).max_positions), 0
        case "translation":
            arch = seq2seq_family_of(checkpoint.config).architecture(checkpoint.config)
            return arch.encoder.max_positions or UNBOUNDED_LENGTH, arch.decoder.max_positions or UNBOUNDED_LENGTH
    return describe(checkpoint, task).max_tokens, 0
