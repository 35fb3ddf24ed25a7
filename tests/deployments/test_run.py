from __future__ import annotations

import asyncio

import pytest

from deployments.run import GivenUp, Run


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


def test_a_sign_is_its_replicas() -> None:
    signs: list[str] = []
    run = Run(signs.append)
    run.replica = "a"
    run.sign()
    assert signs == ["a"]
