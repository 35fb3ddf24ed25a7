"""The plan of an epoch: which examples are in which micro-batch, and which micro-batches make one step.

It is a pure function of the lengths, the sizes, the seed and the epoch. Workers take micro-batches of it in turn, so
that each step sees the same examples, in the same groups, on however many workers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cluster.training.recipe import Unit

MicroBatch = tuple[int, ...]  # indices of examples
GlobalBatch = tuple[MicroBatch, ...]


def plan_epoch(
    lengths: Sequence[int], *, batch: int, micro_batch: int, unit: Unit, seed: int, epoch: int
) -> tuple[GlobalBatch, ...]:
    """Every example once. Micro-batches hold examples of like length, so that little is padding.

    A micro-batch of tokens counts its padding: rows x longest <= `micro_batch` (one example may be longer alone).
    """
    random = np.random.default_rng([seed, epoch])
    shuffled = random.permutation(len(lengths))
    by_length = shuffled[np.argsort(np.asarray(lengths)[shuffled], kind="stable")]
    micro_batches = _cut([int(index) for index in by_length], lengths, micro_batch, unit)
    order = random.permutation(len(micro_batches))
    per_step = max(1, batch // micro_batch)
    return tuple(
        tuple(micro_batches[number] for number in order[start : start + per_step])
        for start in range(0, len(order), per_step)
    )


def share(batch: GlobalBatch, rank: int, workers: int) -> tuple[tuple[int, MicroBatch], ...]:
    """The micro-batches of one worker, each with its number within the step."""
    return tuple((number, micro) for number, micro in enumerate(batch) if number % workers == rank)


def in_order(lengths: Sequence[int], micro_batch: int, unit: Unit) -> tuple[MicroBatch, ...]:
    """All examples for evaluation: like lengths together, no randomness."""
    return tuple(_cut(sorted(range(len(lengths)), key=lengths.__getitem__), lengths, micro_batch, unit))


def _cut(indices: Sequence[int], lengths: Sequence[int], limit: int, unit: Unit) -> list[MicroBatch]:
    """Cut indices in order of length into groups; the last one is the longest of its group."""
    groups: list[MicroBatch] = []
    group: list[int] = []
    for index in indices:
        size = (len(group) + 1) * (lengths[index] if unit == "tokens" else 1)
        if group and size > limit:
            groups.append(tuple(group))
            group = []
        group.append(index)
    if group:
        groups.append(tuple(group))
    return groups
