from __future__ import annotations

import asyncio

import pytest

from deployments.run import CutOff, GivenUp, Run


async def never() -> None:
    await asyncio.Event().wait()


async def one() -> int:
    return 1


async def test_it_gives_what_comes() -> None:
    assert await Run().wait(one) == 1


async def test_given_up_it_ends_the_wait_and_every_later_one() -> None:
    run = Run()
    waiting = asyncio.ensure_future(run.wait(never))
    await asyncio.sleep(0)
    run.give_up()
    run.give_up()
    with pytest.raises(GivenUp):
        await waiting
    with pytest.raises(GivenUp):
        await run.wait(one)


async def test_between_two_waits_nobody_is_disturbed() -> None:
    run = Run()
    await run.wait(one)
    run.give_up()
    await asyncio.sleep(0)
    with pytest.raises(GivenUp):
        await run.wait(never)


async def test_time_passes() -> None:
    with pytest.raises(TimeoutError):
        await Run().wait(never, until_s=asyncio.get_running_loop().time())


async def test_whoever_waits_can_be_cancelled() -> None:
    waiting = asyncio.ensure_future(Run().wait(never))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_call_that_is_cancelled_under_it_is_no_cancellation_of_whoever_waits() -> None:
    call: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(Run().wait(lambda: call))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(CutOff):
        await waiting


def test_a_sign_without_a_name_is_the_last_ones() -> None:
    signs: list[str] = []
    run = Run(signs.append)
    run.sign()
    run.sign("a")
    run.sign()
    assert signs == ["a", "a"]
    assert run.replica == "a"
