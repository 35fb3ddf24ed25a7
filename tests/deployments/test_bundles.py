"""Calls that travel together and are answered apart."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from deployments.bundles import MOST, SMALL, Bundles
from deployments.front_door.trail.record import CURRENT, SHARING, Record
from engine.errors import EngineFailed


class Doubling:
    """Doubles numbers; counts its calls."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gate: asyncio.Event | None = None
        self.fails = False
        self.cancelled = 0

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        self.sizes.append(len(numbers))
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fails:
            raise EngineFailed("no")
        return [2 * number for number in numbers]


async def test_who_comes_at_once_goes_together() -> None:
    call = Doubling()
    bundles = Bundles(call)
    found = await asyncio.gather(*(bundles.compute([i, -i]) for i in range(5)))
    assert found == [[2 * i, -2 * i] for i in range(5)]
    assert call.sizes == [10]


async def test_many_requests_go_in_several_calls_and_large_callers_alone() -> None:
    call = Doubling()
    bundles = Bundles(call)
    sizes = [100, *[SMALL] * 20, 2 * MOST, 1, 0]
    found = await asyncio.gather(*(bundles.compute(range(size)) for size in sizes))
    assert [len(results) for results in found] == sizes
    assert all(results == [2 * number for number in range(len(results))] for results in found)
    assert call.sizes == [MOST, 4 * SMALL + 1, 100, 2 * MOST]


async def test_nobody_waits_for_an_earlier_call() -> None:
    call = Doubling()
    call.gate = asyncio.Event()
    bundles = Bundles(call)
    slow = asyncio.ensure_future(bundles.compute([1]))
    while not call.sizes:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    gate, call.gate = call.gate, None
    assert await bundles.compute([2]) == [4]
    assert not slow.done()
    gate.set()
    assert await slow == [2]


async def test_an_error_is_told_to_all_who_went_along() -> None:
    call = Doubling()
    call.fails = True
    bundles = Bundles(call)
    found = await asyncio.gather(*(bundles.compute([i]) for i in range(3)), return_exceptions=True)
    assert [type(error) for error in found] == [EngineFailed] * 3


async def test_a_call_is_cancelled_when_the_last_of_its_callers_has_gone() -> None:
    call = Doubling()
    call.gate = asyncio.Event()
    bundles = Bundles(call)
    tasks = [asyncio.ensure_future(bundles.compute([i])) for i in range(2)]
    while not call.sizes:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    tasks[0].cancel()
    await asyncio.sleep(0.01)
    assert call.cancelled == 0
    tasks[1].cancel()
    await asyncio.sleep(0.01)
    assert call.cancelled == 1
    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_the_records_of_all_who_go_together_are_told() -> None:
    seen: list[Sequence[Record]] = []

    async def call(numbers: Sequence[int]) -> Sequence[int]:
        seen.append(SHARING.get())
        return numbers

    bundles, records = Bundles(call), [Record("a"), Record("b")]

    async def one(record: Record) -> None:
        CURRENT.set(record)
        await bundles.compute([1])

    await asyncio.gather(*map(one, records), bundles.compute([2]))
    assert [list(found) for found in seen] == [records]
    assert not SHARING.get()
