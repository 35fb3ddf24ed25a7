"""From files to an encoder engine."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoint import Checkpoint, open_checkpoint
from engine.config import compute_dtype
from engine.encoder.config import EncoderConfig
from engine.encoder.describe import EncoderInfo, Task, describe
from engine.encoder.engine import EncoderEngine, EncoderLimits, EncodeWork, Vectors
from engine.encoder.model import TextClassifier, TextEmbedder, TextModel
from engine.errors import ConfigError
from engine.kernels import Kernels, select_kernels
from engine.load import check_precision, return_freed_memory
from engine.models import Encoder, EncoderArchitecture, encoder_family_of, load_classifier, load_encoder
from engine.pipeline.runner import LocalRunner, Runner

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of an encoder before its weights are read."""

    task: Task
    arch: EncoderArchitecture
    info: EncoderInfo
    limits: EncoderLimits
    kernels: Kernels

    def engine(self, runner: Runner[EncodeWork, Vectors]) -> EncoderEngine:
        return EncoderEngine(runner, self.limits, self.arch, self.kernels.name)

    def encoder(self, checkpoint: Checkpoint, first: int = 0, last: int | None = None) -> Encoder:
        """Layers `first` to `last` - 1."""
        encoder = load_encoder(checkpoint, self.kernels, self.limits.max_model_len, first, last)
        encoder.rehearse()
        return encoder

    def with_head(self, checkpoint: Checkpoint, encoder: Encoder) -> TextModel:
        """The encoder's last layers with what makes vectors of their result."""
        if self.task == "text-classification":
            return TextClassifier(encoder, load_classifier(checkpoint, self.kernels, len(self.info.labels)))
        return TextEmbedder(encoder, self.info.pooling, self.info.normalize)


def plan(checkpoint: Checkpoint, config: EncoderConfig, task: Task) -> Plan:
    """Raises CheckpointError and ConfigError."""
    check_precision(checkpoint, config.precision)
    info = describe(checkpoint, task)
    arch = encoder_family_of(checkpoint.config).architecture(checkpoint.config)
    kernels = select_kernels(config.device, compute_dtype(config.precision))
    return Plan(task, arch, info, resolve_limits(info, config), kernels)


def load_encoder_engine(path: Path, config: EncoderConfig, task: Task) -> EncoderEngine:
    """The engine for the model at `path`. Raises CheckpointError and ConfigError."""
    with open_checkpoint(path) as checkpoint:
        planned = plan(checkpoint, config, task)
        model = planned.with_head(checkpoint, planned.encoder(checkpoint))
        return_freed_memory()
    longest = planned.limits.max_model_len
    log.info("%s: %s kernels, %s, texts of up to %d tokens", path, planned.kernels.name, config.precision, longest)
    return planned.engine(local_runner(model))


def local_runner(model: TextModel) -> LocalRunner[EncodeWork, Vectors]:
    """Computes with a whole model right here."""
    device = model.encoder.kernels.device
    return LocalRunner(lambda work: model(work.packed.to(device)).cpu().numpy())


def resolve_limits(info: EncoderInfo, config: EncoderConfig) -> EncoderLimits:
    """Raises ConfigError when the configuration asks for longer texts than the model takes."""
    wanted = config.max_model_len or info.max_tokens
    if wanted > info.max_tokens:
        raise ConfigError(f"max_model_len {wanted}: the model was made for {info.max_tokens}", param="max_model_len")
    return EncoderLimits(wanted, config.max_batch_tokens, config.max_running, config.max_waiting)
