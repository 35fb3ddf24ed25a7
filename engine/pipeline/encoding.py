"""An encoder in stages: batches of texts go in at the first layers, vectors come out behind the last."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from engine.checkpoint import open_checkpoint
from engine.encoder.config import EncoderConfig
from engine.encoder.describe import Task
from engine.encoder.engine import EncoderEngine, EncodeWork, Vectors
from engine.encoder.load import plan
from engine.encoder.model import TextModel
from engine.load import return_freed_memory
from engine.models import Encoder
from engine.models.packed import Packed
from engine.pipeline.held import held_bytes
from engine.pipeline.message import Message
from engine.pipeline.runner import Runner


def to_message(work: EncodeWork) -> Message:
    """Kind "texts": the batch's tokens, types, positions and starts; between stages also hidden (T, C) fp32."""
    return Message("texts", {}, parts(work.packed))


def from_message(message: Message) -> Vectors:
    """Kind "vectors": (B, width) fp32."""
    (vectors,) = message.tensors
    return vectors.numpy()


def parts(packed: Packed) -> tuple[Tensor, ...]:
    return packed.tokens, packed.types, packed.positions, packed.starts


class EncodingStage:
    """A run of an encoder's layers; the last has the `model` whose encoder they are, which makes the vectors."""

    cache_bytes = 0

    def __init__(self, encoder: Encoder, model: TextModel | None) -> None:
        self.encoder = encoder
        self.model = model
        self.weight_bytes = held_bytes(encoder, model)

    def run(self, message: Message) -> Message:
        device = self.encoder.kernels.device
        texts = message.tensors[:4]
        packed, earlier = Packed(*texts).to(device), [tensor.to(device) for tensor in message.tensors[4:]]
        if self.model is not None:
            return Message("vectors", {}, (self.model(packed, *earlier).cpu(),))
        return Message("texts", {}, (*texts, self.encoder.forward(packed, *earlier).cpu()))


def load_encoder_stage(path: Path, config: EncoderConfig, first: int, last: int, task: Task) -> EncodingStage:
    """Layers `first` to `last` - 1 of the model at `path`, read alone; with the last layer also what makes vectors.

    Raises CheckpointError and ConfigError.
    """
    with open_checkpoint(path) as checkpoint:
        planned = plan(checkpoint, config, task)
        encoder = planned.encoder(checkpoint, first, last)
        model = planned.with_head(checkpoint, encoder) if last == planned.arch.num_layers else None
        return_freed_memory()
    return EncodingStage(encoder, model)


def load_pipelined_encoder(
    path: Path, config: EncoderConfig, task: Task, runner: Runner[EncodeWork, Vectors]
) -> EncoderEngine:
    """The engine whose work a pipeline's stages do; reads no weights. Raises CheckpointError and ConfigError."""
    with open_checkpoint(path) as checkpoint:
        return plan(checkpoint, config, task).engine(runner)
