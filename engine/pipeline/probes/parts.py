"""What a model is made of, for whoever measures it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from engine.kernels.replay import Replay

DEPTH = 4
"""Layers of a long run. A layer takes what each further one adds to a run of one: that leaves out what the call itself
takes, a good part of a small layer's time."""
SMALL = 32 << 20  # bytes of a layer that a processor's cache may hold, so that a run must be of different ones

Probe = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a model: the bytes that it holds, and its time as a sum of the probes' times, each with its factor."""

    times: Mapping[str, float]
    bytes: int


@dataclass(frozen=True, slots=True)
class Probes:
    """What there is to run, by name, and the parts of the model."""

    run: Mapping[str, Probe]
    layers: tuple[Part, ...]
    first: Part
    last: Part


@dataclass(frozen=True, slots=True)
class Kinds:
    """Layers sorted by kind: each layer's, and of each kind the layers of a long run."""

    names: tuple[str, ...]
    samples: Mapping[str, tuple[int, ...]]


def sort_layers(side: str, kinds: Sequence[Hashable], layer_bytes: Sequence[int]) -> Kinds:
    """Layers of equal kind are taken to be equally fast. Those from the middle are measured: with the first and the
    last one come embedding and head."""
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    samples = {}
    for kind, number in numbers.items():
        every = [index for index, one in enumerate(kinds) if one == kind]
        inner = [index for index in every if 0 < index < len(kinds) - 1] or every
        different = DEPTH if layer_bytes[inner[0]] < SMALL else 1
        start = max(0, (len(inner) - different) // 2)
        run = itertools.cycle(inner[start : start + different])
        samples[f"{side} {number}"] = tuple(itertools.islice(run, DEPTH))
    return Kinds(tuple(f"{side} {numbers[kind]}" for kind in kinds), samples)


def one_more(kind: str, times: int = 1) -> dict[str, float]:
    """What one more layer of the kind adds to a run, so many times."""
    return {f"{kind}, {DEPTH}": times / (DEPTH - 1), f"{kind}, 1": -times / (DEPTH - 1)}


def believable(seconds: Mapping[str, float]) -> dict[str, float]:
    """The probes' times with those of runs of one layer within bounds: at least their share of the long run, and not so
    much that a further layer would take less than half of its share. Beside busy neighbours a short time can be
    measured as anything."""
    found = dict(seconds)
    for name, long in seconds.items():
        kind, _, depth = name.rpartition(", ")
        if depth == str(DEPTH):
            most = long * (1 - (DEPTH - 1) / (2 * DEPTH))
            found[f"{kind}, 1"] = min(max(seconds[f"{kind}, 1"], long / DEPTH), most)
    return found


class LayerRun(Protocol):
    """A run of a model's layers: a decoder or an encoder."""

    layers: list[Any]
    replay: Replay


M = TypeVar("M", bound=LayerRun)


def load_runs(kinds: Kinds, load: Callable[[int], M]) -> tuple[M, M, dict[str, M]]:
    """The model's first layer and its last one, with embedding and head, and by the names of `one_more` the runs of
    each kind. `load` gives one layer."""
    last = len(kinds.names) - 1
    wanted = {0, last, *itertools.chain.from_iterable(kinds.samples.values())}
    models = {index: load(index) for index in sorted(wanted)}
    runs: dict[str, M] = {}
    for kind, sample in kinds.samples.items():
        for depth in (1, DEPTH):
            run = copy.copy(models[sample[0]])
            run.layers = [models[index].layers[0] for index in sample[:depth]]
            run.replay = Replay()
            runs[f"{kind}, {depth}"] = run
    return models[0], models[last], runs
