"""Every encoder-decoder family against `transformers` and against its uncached self."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.checkpoint import open_checkpoint
from engine.kernels import Kernels, TorchKernels
from engine.kernels.native import NativeKernels
from engine.kernels.operators import load
from engine.models.cross_decoder import Rows
from engine.models.packed import Text, pack
from engine.models.seq2seq import Seq2Seq, load_seq2seq
from tests.engine.tiny_seq2seq import FAMILIES, write_checkpoint

SOURCES = [[(5 * i * i + 3 * i + 7) % 90 + 5 for i in range(n)] for n in (1, 23, 7, 60)]
TARGETS = [[2, *((7 * i * i + i + n) % 90 + 4 for i in range(n))] for n in (30, 1, 12, 25)]


def all_kernels(dtype: torch.dtype) -> list[Kernels]:
    kernels: list[Kernels] = [TorchKernels(dtype, torch.device("cpu"))]
    if load():
        kernels.append(NativeKernels(dtype, amx=False))
    return kernels


def open_model(folder: Path, kernels: Kernels) -> Seq2Seq:
    with open_checkpoint(folder) as checkpoint:
        return load_seq2seq(checkpoint, kernels, max_source_len=100, max_target_len=80)


def ints(values: list[int], dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def scattered(count: int, used: int, total: int = 700) -> list[int]:
    """Slots that lie anywhere."""
    return [(37 * i + 11) % total for i in range(used, used + count)]


def score(model: Seq2Seq, sources: list[list[int]], targets: list[list[int]], cached: bool) -> list[Tensor]:
    """Logits (length, vocabulary) of each target's tokens: one step a token for all targets, or all in one."""
    caches = model.decoder.make_caches(700)
    encoded = model.encoder.forward(pack([Text(source) for source in sources], model.encoder.arch))
    slots = scattered(len(encoded), 0)
    model.decoder.remember(encoded, ints(slots), caches)
    widest = max(map(len, sources))
    source_slots: list[list[int]] = []
    for source in sources:
        at = sum(map(len, source_slots))
        source_slots.append(slots[at : at + len(source)])
    own: list[list[int]] = []
    for target in targets:
        own.append(scattered(len(target), len(slots) + sum(map(len, own))))
    longest = max(map(len, targets))
    found: list[list[Tensor]] = [[] for _ in targets]
    steps = [[place] for place in range(longest)] if cached else [list(range(longest))]
    for places in steps:
        rows = [(which, place) for place in places for which, target in enumerate(targets) if place < len(target)]
        batch = Rows(
            tokens=ints([targets[which][place] for which, place in rows]),
            positions=ints([place for _, place in rows]),
            slots=ints([own[which][place] for which, place in rows]),
            table=torch.tensor([own[w] + [0] * (longest - len(own[w])) for w, _ in rows], dtype=torch.int32),
            lengths=ints([place + 1 for _, place in rows], torch.int32),
            source_table=torch.tensor(
                [source_slots[w] + [0] * (widest - len(source_slots[w])) for w, _ in rows], dtype=torch.int32
            ),
            source_lengths=ints([len(sources[which]) for which, _ in rows], torch.int32),
        )
        logits = model.decoder.logits(model.decoder.forward(batch, caches))
        for (which, _), row in zip(rows, logits, strict=True):
            found[which].append(row)
    return [torch.stack(rows) for rows in found]


@pytest.mark.parametrize("kernels", all_kernels(torch.float32), ids=lambda k: k.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_references(family: str, kernels: Kernels, tmp_path: Path) -> None:
    reference = write_checkpoint(family, tmp_path)
    model = open_model(tmp_path, kernels)
    cached = score(model, SOURCES, TARGETS, cached=True)
    uncached = score(model, SOURCES, TARGETS, cached=False)
    for source, target, one, other in zip(SOURCES, TARGETS, cached, uncached, strict=True):
        with torch.no_grad():
            expected = reference(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target]))
            hidden = reference.get_encoder()(input_ids=torch.tensor([source])).last_hidden_state[0]
        torch.testing.assert_close(one, expected.logits[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-4)
        encoded = model.encoder.forward(pack([Text(source)], model.encoder.arch))
        torch.testing.assert_close(encoded, hidden, atol=1e-4, rtol=1e-4)
