"""What the encoder-decoder's engine has computed: sources encoded and remembered, the next token of each row chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.models.cross_decoder import Rows
from engine.models.packed import Packed
from engine.models.seq2seq import Seq2Seq
from engine.pipeline.runner import LocalRunner
from engine.seq2seq.choice import Choice, Chosen, choose


@dataclass(frozen=True, slots=True)
class EncodeWork:
    """Source texts, and the slots (T,) int64 where the decoder's layers put their keys and values. On the CPU."""

    texts: Packed
    slots: Tensor


@dataclass(frozen=True, slots=True)
class DecodeWork:
    """One step of all rows, of one choice after another. On the CPU."""

    rows: Rows
    choices: tuple[Choice, ...]


Work = EncodeWork | DecodeWork
Answer = tuple[Chosen, ...]  # one for each choice; of encoding nothing comes back


def local_runner(model: Seq2Seq, caches: list[Tensor]) -> LocalRunner[Work, Answer]:
    """Computes with a whole model right here."""
    encoder, decoder, device = model.encoder, model.decoder, model.kernels.device

    @torch.inference_mode()
    def compute(work: Work) -> Answer:
        if isinstance(work, EncodeWork):
            decoder.remember(encoder.forward(work.texts.to(device)), work.slots.to(device), caches)
            return ()
        logits = decoder.logits(decoder.forward(work.rows.to(device), caches))
        return choose(logits, work.choices, decoder.kernels)

    return LocalRunner(compute)
