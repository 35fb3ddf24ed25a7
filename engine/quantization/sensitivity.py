"""Which products need a higher precision than the rest: by what the model was measured to gain, not by name.

One product alone gains too little to be told from chance, and its own error says little of what it does to the model
(both were tried with SmolLM2: the products with the largest errors were not those that helped). So ranges of layers are
measured, each kept higher while all the rest is quantized.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

PARTS = 3  # ranges that the layers are cut into
MOST = 0.75
Loss = Callable[[frozenset[str]], float]
"""The model's loss with all products quantized but these, which are higher."""


def ranges(products: Sequence[str]) -> list[tuple[str, ...]]:
    """The products, in the order of the model, that are kept or quantized together: those that differ in the number of
    their layer only, a third of the layers at a time."""
    alike: dict[str, list[str]] = {}
    for name in products:
        kind = ".".join("*" if part.isdigit() else part for part in name.split("."))
        alike.setdefault(kind, []).append(name)
    found = []
    for names in alike.values():
        cuts = [round(len(names) * i / PARTS) for i in range(PARTS + 1)]
        found += [tuple(names[start:end]) for start, end in pairwise(cuts) if end > start]
    return found


def find_kept(
    groups: Sequence[tuple[str, ...]], sizes: Mapping[str, int], loss: Loss, budget: float
) -> tuple[str, ...]:
    """The products to keep higher so that the loss is within the budget: groups in the order of what each gained for
    its size, measured alone, until they are enough together. `sizes` are in weights.

    Where not even all are enough, until they gain `MOST` of what all of them would.
    """
    whole = loss(frozenset())
    if whole <= budget:
        return ()
    least = loss(frozenset(sizes))
    if least > budget:
        budget = whole - MOST * max(0.0, whole - least)
    gains = {group: whole - loss(frozenset(group)) for group in groups}
    rates = {group: gain / max(1, sum(sizes[name] for name in group)) for group, gain in gains.items()}
    kept: list[str] = []
    expected = whole
    for group in sorted((group for group in groups if gains[group] > 0), key=lambda group: -rates[group]):
        kept += group
        expected -= gains[group]
        # Together they may gain less than one by one: the sum only says when it is worth measuring.
        if expected <= budget and loss(frozenset(kept)) <= budget:
            break
    return tuple(name for name in sizes if name in kept)
