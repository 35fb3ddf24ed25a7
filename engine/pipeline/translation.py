"""An encoder-decoder in stages, its layers counted encoder first, then decoder.

Sources go through the encoder's layers; the result travels on, and each stage of the decoder remembers its own layers'
keys and values of it. A decoder's step passes the encoder's stages as it is. The last stage chooses tokens.
"""

from __future__ import annotations

from pathlib import Path

import torch

from engine.checkpoint import open_checkpoint
from engine.load import return_freed_memory
from engine.models.cross_decoder import Rows
from engine.models.packed import Packed
from engine.models.seq2seq import Seq2SeqPart, load_seq2seq_part
from engine.pipeline.choices import choices_from, choices_to
from engine.pipeline.held import held_bytes
from engine.pipeline.message import Message
from engine.pipeline.runner import Runner
from engine.seq2seq.choice import Chosen, choose
from engine.seq2seq.config import Seq2SeqConfig
from engine.seq2seq.engine import Seq2SeqEngine
from engine.seq2seq.load import plan
from engine.seq2seq.work import Answer, EncodeWork, Work

ROWS = 7  # tensors of a decoder's step


def to_message(work: Work) -> Message:
    """Kind "sources": slots, then the texts' tokens, types, positions and starts, between stages also hidden (T, C).

    Kind "step": the tensors of `Rows`, those of the choices, and between the decoder's stages hidden (R, C).
    """
    if isinstance(work, EncodeWork):
        texts = work.texts
        return Message("sources", {}, (work.slots, texts.tokens, texts.types, texts.positions, texts.starts))
    choices, tensors = choices_to(work.choices)
    return Message("step", {"choices": choices}, (*work.rows.tensors(), *tensors))


def from_message(message: Message) -> Answer:
    """Kind "remembered": nothing. Kind "chosen": scores (R, K) fp32 and tokens (R, K) int32 of each choice."""
    pairs = zip(message.tensors[::2], message.tensors[1::2], strict=True)
    return tuple(Chosen(scores.numpy(), tokens.numpy()) for scores, tokens in pairs)


class TranslationStage:
    """A run of layers of the encoder, of the decoder, or of both, with room for `slots` tokens in its caches."""

    def __init__(self, part: Seq2SeqPart, slots: int, *, encoded: bool) -> None:
        """With `encoded` the encoder's last layer is here or before."""
        self.encoder, self.decoder = part.encoder, part.decoder
        self.encoded = encoded
        self.caches = [] if self.decoder is None else self.decoder.make_caches(slots)
        self.weight_bytes = held_bytes(part)
        self.cache_bytes = sum(cache.nbytes for cache in self.caches)
        self.device = (part.decoder or part.encoder).kernels.device  # type: ignore[union-attr]

    def run(self, message: Message) -> Message:
        if message.kind == "step":
            return message if self.decoder is None else self._step(message)
        if message.kind == "sources":
            message = self._encode(message)
        return message if self.decoder is None else self._remember(message)

    def _encode(self, message: Message) -> Message:
        """To kind "encoded" behind the encoder's last layer: slots and what they are to remember."""
        assert self.encoder is not None
        given = message.tensors[:5]
        earlier = [tensor.to(self.device) for tensor in message.tensors[5:]]
        hidden = self.encoder.forward(Packed(*given[1:]).to(self.device), *earlier).cpu()
        return Message("encoded", {}, (given[0], hidden)) if self.encoded else Message("sources", {}, (*given, hidden))

    def _remember(self, message: Message) -> Message:
        assert self.decoder is not None
        slots, encoded = (tensor.to(self.device) for tensor in message.tensors)
        self.decoder.remember(encoded, slots, self.caches)
        return message if self.decoder.head is None else Message("remembered", {}, ())

    @torch.inference_mode()
    def _step(self, message: Message) -> Message:
        decoder = self.decoder
        assert decoder is not None
        given = message.tensors if decoder.embedding is not None else message.tensors[:-1]
        earlier = [tensor.to(self.device) for tensor in message.tensors[len(given) :]]
        hidden = decoder.forward(Rows(*given[:ROWS]).to(self.device), self.caches, *earlier)
        if decoder.head is None:
            return Message("step", message.meta, (*given, hidden.cpu()))
        choices = choices_from(message.meta["choices"], given[ROWS:])
        found = choose(decoder.logits(hidden), choices, decoder.kernels)
        parts = [torch.from_numpy(part) for chosen in found for part in (chosen.scores, chosen.tokens)]
        return Message("chosen", {}, tuple(parts))


def load_translation_stage(path: Path, config: Seq2SeqConfig, first: int, last: int) -> TranslationStage:
    """Layers `first` to `last` - 1 of the model at `path`, read alone, with caches for its decoder's layers.

    Raises CheckpointError and ConfigError.
    """
    with open_checkpoint(path) as checkpoint:
        planned = plan(checkpoint, config)
        limits = planned.limits
        part = load_seq2seq_part(checkpoint, planned.kernels, limits.max_model_len, limits.max_new_tokens, first, last)
        if part.encoder is not None:
            part.encoder.rehearse()
        return_freed_memory()
    return TranslationStage(part, limits.slots, encoded=last >= planned.arch.encoder.num_layers)


def load_pipelined_seq2seq(path: Path, config: Seq2SeqConfig, runner: Runner[Work, Answer]) -> Seq2SeqEngine:
    """The engine whose work a pipeline's stages do; reads no weights. Raises CheckpointError and ConfigError."""
    with open_checkpoint(path) as checkpoint:
        return plan(checkpoint, config).engine(runner)
