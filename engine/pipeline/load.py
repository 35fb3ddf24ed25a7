"""A model's stages by its task, and the engine that drives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.config import EngineConfig
from engine.pipeline.costs import ModelTask
from engine.pipeline.generation_load import load_decoder_stage, load_staged_decoder
from engine.pipeline.message import Message, Stage
from engine.pipeline.runner import Runner
from engine.steps import SteppedEngine

Config = EngineConfig
"""The configuration of a task's engine."""


def load_stage(task: ModelTask, path: Path, config: Config, first: int, last: int) -> Stage:
    """Layers `first` to `last` - 1; an encoder-decoder's are the encoder's, then the decoder's. Raises CheckpointError
    and ConfigError."""
    return load_decoder_stage(path, config, first, last)


def load_staged_engine(
    task: ModelTask, path: Path, config: Config, pipeline: Runner[Message, Message]
) -> SteppedEngine[Any, Any, Any, Any]:
    """The engine for stages that `pipeline` has; no weights are read. Raises CheckpointError and ConfigError."""
    return load_staged_decoder(path, config, pipeline)
