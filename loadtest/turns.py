"""Whose turn it is: on a shared machine speed drifts, and what is compared must drift together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Item = TypeVar("Item")


def rotated(items: Sequence[Item], turn: int) -> list[Item]:
    """Another one begins in each turn."""
    first = turn % len(items) if items else 0
    return [*items[first:], *items[:first]]


def there_and_back(items: Sequence[Item], turn: int) -> list[Item]:
    """In order and in reverse: for what takes long to change from one to the next."""
    return list(items if turn % 2 else items[::-1])


def turns(
    items: Sequence[Item],
    rounds: int,
    console: Console,
    *,
    name: Callable[[Item], str] = str,
    warm_up: bool = False,
    order: Callable[[Sequence[Item], int], list[Item]] = rotated,
) -> Iterator[tuple[int, Item]]:
    """Each item once a round, with a bar in the terminal. Rounds count from 1; with `warm_up` there is a round 0 before
    them, which is not to count. `order` is the items' in a round."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    numbers = range(0 if warm_up else 1, rounds + 1)
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(numbers) * len(items))
        for number in numbers:
            for item in order(items, number):
                what = f"round {number} of {rounds}" if number else "warming up"
                progress.update(bar, description=f"{what}: {name(item)}")
                yield number, item
                progress.advance(bar)
