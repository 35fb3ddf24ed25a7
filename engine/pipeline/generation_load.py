"""A decoder's stages from its files, and the engine that drives them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from engine.checkpoint import open_checkpoint
from engine.config import EngineConfig
from engine.engine import Engine
from engine.load import load_layers, make_engine
from engine.models import read_architecture
from engine.pipeline.generation import Answer, Work
from engine.pipeline.generation_messages import DecoderStage, to_answer, to_message
from engine.pipeline.held import held_bytes
from engine.pipeline.message import Message
from engine.pipeline.messenger import Messenger
from engine.pipeline.runner import Runner


def load_decoder_stage(path: Path, config: EngineConfig, first: int, last: int) -> DecoderStage:
    """Layers `first` to `last` - 1 of the model at `path`. Raises CheckpointError and ConfigError."""
    with open_checkpoint(path) as checkpoint:
        layers = load_layers(checkpoint, config, first, last)
    return DecoderStage(layers, held_bytes(layers.decoder))


def load_staged_decoder(path: Path, config: EngineConfig, pipeline: Runner[Message, Message]) -> Engine:
    """The engine for stages that `pipeline` has; no weights are read. Raises CheckpointError and ConfigError."""
    with open_checkpoint(path) as checkpoint:
        vocab_size = read_architecture(checkpoint).vocab_size
        runner: Messenger[Work, Answer] = Messenger(pipeline, partial(to_message, vocab_size=vocab_size), to_answer)
        return make_engine(checkpoint, config, runner)
