"""From files to an encoder engine."""

from __future__ import annotations

import logging
from pathlib import Path

from engine.checkpoint import open_checkpoint
from engine.config import compute_dtype
from engine.encoder.config import EncoderConfig
from engine.encoder.describe import EncoderInfo, Task, describe
from engine.encoder.engine import EncoderEngine, EncoderLimits
from engine.encoder.model import TextClassifier, TextEmbedder, TextModel
from engine.errors import ConfigError
from engine.kernels import select_kernels
from engine.load import check_precision, return_freed_memory
from engine.models import load_classifier, load_encoder

log = logging.getLogger(__name__)


def load_encoder_engine(path: Path, config: EncoderConfig, task: Task) -> EncoderEngine:
    """The engine for the model at `path`. Raises CheckpointError and ConfigError."""
    with open_checkpoint(path) as checkpoint:
        check_precision(checkpoint, config.precision)
        info = describe(checkpoint, task)
        limits = resolve_limits(info, config)
        kernels = select_kernels(config.device, compute_dtype(config.precision))
        encoder = load_encoder(checkpoint, kernels, limits.max_model_len)
        model: TextModel = TextEmbedder(encoder, info.pooling, info.normalize)
        if task == "text-classification":
            model = TextClassifier(encoder, load_classifier(checkpoint, kernels, len(info.labels)))
        return_freed_memory()
    log.info("%s: %s kernels, %s, texts of up to %d tokens", path, kernels.name, config.precision, limits.max_model_len)
    return EncoderEngine(model, limits)


def resolve_limits(info: EncoderInfo, config: EncoderConfig) -> EncoderLimits:
    """Raises ConfigError when the configuration asks for longer texts than the model takes."""
    wanted = config.max_model_len or info.max_tokens
    if wanted > info.max_tokens:
        raise ConfigError(f"max_model_len {wanted}: the model was made for {info.max_tokens}", param="max_model_len")
    return EncoderLimits(wanted, config.max_batch_tokens, config.max_running, config.max_waiting)
