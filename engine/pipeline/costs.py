"""What each part of a model costs on these kernels: measured on a few layers of each kind, so in about a second.

Measured is a piece of work of an ordinary size: a decode step of 16 texts, 256 packed tokens for an encoder, and for an
encoder-decoder 16 sentences from the first to the last step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch

from engine.checkpoint import Checkpoint
from engine.kernels import Kernels
from engine.models import encoder_family_of, loading, read_architecture
from engine.models.seq2seq import seq2seq_family_of
from engine.pipeline.partition import Cost, Costs
from engine.pipeline.probes.decoder import decoder_probes
from engine.pipeline.probes.encoder import encoder_probes
from engine.pipeline.probes.parts import Part, Probe, Probes, believable
from engine.pipeline.probes.seq2seq import seq2seq_probes

ModelTask = Literal["text-generation", "text-classification", "embedding", "translation"]

LEAST_ROUNDS, MOST_ROUNDS = 5, 50  # of which the quickest counts
BUDGET_S = 0.3  # in which as many rounds are run as go into it
WARM_UP = 2  # rounds that do not count


def measure_costs(checkpoint: Checkpoint, task: ModelTask, kernels: Kernels, threads: int) -> Costs:
    """Of a checkpoint's layers, embedding and head, with so many threads. Loads a few layers of each kind. Raises as
    `load_decoder`."""
    with loading(checkpoint), _threads(threads):
        probes = _probes(checkpoint, task, kernels)
        finish = torch.cuda.synchronize if kernels.device.type == "cuda" else lambda: None
        return costs_of(probes, least_seconds(probes.run, finish))


def count_layers(checkpoint: Checkpoint, task: ModelTask) -> int:
    """Layers that can be shared among stages; an encoder-decoder's are the encoder's, then the decoder's. Raises
    CheckpointError."""
    match task:
        case "text-generation":
            return read_architecture(checkpoint).num_layers
        case "translation":
            both = seq2seq_family_of(checkpoint.config).architecture(checkpoint.config)
            return both.encoder.num_layers + both.decoder.num_layers
        case _:
            return encoder_family_of(checkpoint.config).architecture(checkpoint.config).num_layers


def costs_of(probes: Probes, seconds: Mapping[str, float]) -> Costs:
    """The costs of a model's parts, from what each probe takes."""
    taken = believable(seconds)

    def cost(part: Part) -> Cost:
        return Cost(sum(factor * taken[name] for name, factor in part.times.items()), part.bytes)

    return Costs(tuple(map(cost, probes.layers)), cost(probes.first), cost(probes.last))


def least_seconds(probes: Mapping[str, Probe], finish: Callable[[], object] = lambda: None) -> dict[str, float]:
    """What each takes; `finish` waits for a device that is given work ahead. They take turns: a busy neighbour slows
    all of them, and no layer finds its weights in the cache only because it is alone here."""
    found: dict[str, list[float]] = {name: [] for name in probes}
    began = time.perf_counter()
    rounds = 0
    while rounds < WARM_UP + LEAST_ROUNDS or (rounds < MOST_ROUNDS and time.perf_counter() - began < BUDGET_S):
        rounds += 1
        for name, probe in probes.items():
            started = time.perf_counter()
            probe()
            finish()
            found[name].append(time.perf_counter() - started)
    return {name: min(taken[WARM_UP:]) for name, taken in found.items()}


def _probes(checkpoint: Checkpoint, task: ModelTask, kernels: Kernels) -> Probes:
    match task:
        case "text-generation":
            return decoder_probes(checkpoint, kernels)
        case "translation":
            return seq2seq_probes(checkpoint, kernels)
        case _:
            return encoder_probes(checkpoint, kernels, task)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
