"""Which products need a higher precision than the rest: by what their rounding was measured to cost, not by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median


def scaled(errors: Mapping[str, float], whole: float) -> dict[str, float]:
    """Losses of single products in proportion to their errors, from the one loss that was measured with all of them."""
    total = sum(errors.values())
    return {name: whole * error / total if total > 0 else 0.0 for name, error in errors.items()}


def measured(errors: Mapping[str, float], measure: Callable[[str], float], most: int) -> dict[str, float]:
    """Losses of single products: `measure` gives that of the model with only the named product quantized.

    It is asked for the `most` products with the largest errors; the others cost what their errors make likely, as the
    median of those that were measured has it.
    """
    ranked = sorted(errors, key=lambda name: (-errors[name], name))
    found = {name: max(0.0, measure(name)) for name in ranked[:most]}
    rates = [loss / errors[name] for name, loss in found.items() if errors[name] > 0]
    rate = median(rates) if rates else 0.0
    return {name: found.get(name, rate * error) for name, error in errors.items()}


def choose_kept(losses: Mapping[str, float], sizes: Mapping[str, int], budget: float) -> tuple[str, ...]:
    """The products to keep so that the losses of the rest add up to at most the budget, in order of their losses.

    The fewest weights, as near as a greedy choice comes to it: first those that cost most for their size, then without
    those that turn out not to be needed. Sizes are in weights. Losses below 0 count as 0.
    """
    left = {name: max(0.0, loss) for name, loss in losses.items()}
    kept: list[str] = []
    for name in sorted(left, key=lambda name: (-left[name] / max(1, sizes[name]), name)):
        if _total(left, kept) <= budget:
            break
        kept.append(name)
    for name in sorted(kept, key=lambda name: (-sizes[name], name)):
        fewer = [other for other in kept if other != name]
        if _total(left, fewer) <= budget:
            kept = fewer
    return tuple(sorted(kept, key=lambda name: (-left[name], name)))


def _total(losses: Mapping[str, float], kept: list[str]) -> float:
    return sum(loss for name, loss in losses.items() if name not in kept)
