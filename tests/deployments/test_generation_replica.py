"""A replica without Serve: its own id for each call, and nothing left of a caller who goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from cluster.pipeline.state import Meanwhile, Shares
from deployments.generation_replica import GenerationReplica, joined
from deployments.provision import VariantFiles
from deployments.stage_status import shown
from engine.config import EngineConfig
from engine.errors import ReplicaLost
from engine.request import Delta, FinishReason, GrammarSpec, Request, SamplingParams, Timings
from tests.cluster.pipeline.test_state import STAGE
from tests.engine.tiny import write_checkpoint

ENDLESS = SamplingParams(max_tokens=100_000, temperature=0, ignore_eos=True)


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GenerationReplica]:
    folder = tmp_path_factory.mktemp("model")
    write_checkpoint("llama", folder)
    replica = GenerationReplica(
        "m", "fp32", VariantFiles.at(folder), EngineConfig(precision="fp32", threads=1, kv_cache_bytes=8 << 20)
    )
    yield replica
    replica.loop.stop()


def brief(name: str = "a", tokens: int = 5) -> Request:
    return Request(name, (1, 2, 3), SamplingParams(max_tokens=tokens, temperature=0, ignore_eos=True))


async def collect(deltas: AsyncIterator[Delta]) -> list[int]:
    return [token async for delta in deltas for token in delta.tokens]


async def idle(replica: GenerationReplica) -> None:
    async with asyncio.timeout(30):
        while replica.loop.open_requests or replica.loop.stats().blocks_used or replica.streams:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_two_calls_with_one_id_are_two_requests(replica: GenerationReplica) -> None:
    async with asyncio.timeout(60):
        one, other = await asyncio.gather(*(collect(replica.generate(brief(tokens=9))) for _ in range(2)))
    assert one == other
    assert len(one) == 9


async def test_closing_the_iterator_frees_everything(replica: GenerationReplica) -> None:
    deltas = replica.generate(Request("a", (1, 2, 3), ENDLESS))
    await anext(deltas)
    await deltas.aclose()
    await idle(replica)


async def test_a_caller_who_goes_while_the_grammar_compiles_leaves_nothing(
    replica: GenerationReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiling, release = asyncio.Event(), asyncio.Event()
    events = asyncio.get_running_loop()

    def slow(request: Request) -> Any:
        events.call_soon_threadsafe(compiling.set)
        asyncio.run_coroutine_threadsafe(release.wait(), events).result(30)

    monkeypatch.setattr(replica.loop, "prepare", slow)
    constrained = Request("a", (1,), SamplingParams(max_tokens=100_000, grammar=GrammarSpec("json_object")))
    task = asyncio.ensure_future(collect(replica.generate(constrained)))
    await compiling.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    await idle(replica)


async def test_what_it_tells_of_itself(replica: GenerationReplica) -> None:
    await collect(replica.generate(brief()))
    told = await replica.describe()
    assert told["state"] == "ready"
    assert told["running"] == 0
    page = await replica.exposition()
    assert 'vllm:num_requests_running{engine="fp32",model_name="m"} 0.0' in page
    assert "vllm:iteration_tokens_total_bucket" in page
    replica.check_health()


async def test_a_failed_engine_is_unhealthy(replica: GenerationReplica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica.loop, "_failures", 99)
    with pytest.raises(RayActorError):  # no other error counts at once
        replica.check_health()
    with pytest.raises(ReplicaLost):
        await collect(replica.generate(brief()))
    assert (await replica.describe())["state"] == "failed"


def test_joined_deltas_keep_every_token() -> None:
    first, second = Delta((1, 2), cached_tokens=3), Delta((3,), FinishReason.STOP, cached_tokens=3)
    assert joined(first, second) == Delta((1, 2, 3), FinishReason.STOP, cached_tokens=3)


async def test_a_replica_of_several_stages_tells_of_them(
    replica: GenerationReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "stages" not in await replica.describe()
    assert "stageline:stage" not in await replica.exposition()
    monkeypatch.setattr(replica, "stages", lambda: (STAGE, STAGE))
    told = await replica.describe()
    assert told["stages"] == [shown(STAGE)] * 2
    assert told["bubble"] == 0.4
    assert 'stageline:stage_busy_ratio{engine="fp32",model_name="m",replica="' in await replica.exposition()


async def test_only_the_replica_that_is_meant_tells_what_its_stages_did(
    replica: GenerationReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await replica.meanwhile(replica.name, 0.0, 1.0) == [], "it computes by itself"
    asked: list[tuple[float, float]] = []

    class Staged:
        def meanwhile(self, start: float, end: float) -> list[Meanwhile]:
            asked.append((start, end))
            return [Meanwhile(0, "0-1", Shares())]

    monkeypatch.setattr("deployments.replica.pipeline_of", lambda engine: Staged())
    now_s, now = time.time(), time.monotonic()
    assert await replica.meanwhile(replica.name, now_s - 5.0, now_s) == [Meanwhile(0, "0-1", Shares())]
    ((start, end),) = asked
    assert start == pytest.approx(now - 5.0, abs=1.0)
    assert end == pytest.approx(now, abs=1.0)
    assert await replica.meanwhile("another", 0.0, 1.0) is None


def test_what_is_joined_to_an_error_is_not_lost() -> None:
    first = Delta((1, 2), cached_tokens=3, timings=Timings(1, 2, 0))
    error = ReplicaLost("no")
    second = Delta(finish_reason=FinishReason.ERROR, error=error)
    assert joined(first, second) == Delta(
        (1, 2), FinishReason.ERROR, cached_tokens=3, timings=Timings(1, 2, 0), error=error
    )


async def test_now_and_then_it_tells_its_load(replica: GenerationReplica) -> None:
    first, *_ = [item async for item in replica.told(brief())]
    assert isinstance(first, tuple)
    assert first[1].replica == replica.name
    assert await replica.here() == replica.name


async def test_a_request_that_was_begun_elsewhere_goes_on(replica: GenerationReplica) -> None:
    whole = await collect(replica.generate(brief(tokens=9)))
    left = await collect(replica.generate(replace(brief(tokens=9), generated=tuple(whole[:4]))))
    assert left == whole[4:]
