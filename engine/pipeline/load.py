"""A model's stages by its task, and the engine that drives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.config import EngineConfig
from engine.encoder.config import EncoderConfig
from engine.pipeline import encoding, translation
from engine.pipeline.costs import ModelTask
from engine.pipeline.generation_load import load_decoder_stage, load_staged_decoder
from engine.pipeline.message import Message, Stage
from engine.pipeline.messenger import Messenger
from engine.pipeline.runner import Runner
from engine.seq2seq.config import Seq2SeqConfig
from engine.steps import SteppedEngine

Config = EngineConfig | EncoderConfig | Seq2SeqConfig
"""Of a task's engine."""


def load_stage(task: ModelTask, path: Path, config: Config, first: int, last: int) -> Stage:
    """Layers `first` to `last` - 1; an encoder-decoder's are the encoder's, then the decoder's. Raises CheckpointError
    and ConfigError."""
    match task, config:
        case "text-generation", EngineConfig():
            return load_decoder_stage(path, config, first, last)
        case "translation", Seq2SeqConfig():
            return translation.load_translation_stage(path, config, first, last)
        case (("text-classification" | "embedding"), EncoderConfig()):
            return encoding.load_encoder_stage(path, config, first, last, task)
    raise AssertionError(f"{type(config).__name__} is not for {task}")


def load_staged_engine(
    task: ModelTask, path: Path, config: Config, pipeline: Runner[Message, Message]
) -> SteppedEngine[Any, Any, Any, Any]:
    """The engine for stages that `pipeline` has; no weights are read. Raises CheckpointError and ConfigError."""
    match task, config:
        case "text-generation", EngineConfig():
            return load_staged_decoder(path, config, pipeline)
        case "translation", Seq2SeqConfig():
            sentences = Messenger(pipeline, translation.to_message, translation.from_message)
            return translation.load_pipelined_seq2seq(path, config, sentences)
        case (("text-classification" | "embedding"), EncoderConfig()):
            texts = Messenger(pipeline, encoding.to_message, encoding.from_message)
            return encoding.load_pipelined_encoder(path, config, task, texts)
    raise AssertionError(f"{type(config).__name__} is not for {task}")
