"""One request's trace: over a front door, calls and replicas' tracers that are real, and an engine that is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deployments.access.keys import digest_of
from deployments.access.ring import KeyFile
from deployments.asked import Asked
from deployments.calls import Replicas, stream
from deployments.channels.channel import ChannelLost
from deployments.front_door.app import create_app
from deployments.presence import Presence
from deployments.tracing.replica import ReplicaTracer
from deployments.tracing.requests import RequestTracer
from deployments.tracing.sampler import Sampler
from deployments.tracing.stages import StageTimes
from engine.encoder.request import Encoded
from engine.request import Delta, FinishReason, Timings
from tests.deployments.front_door.fakes import EOS, FakeEngine, make_service
from tests.deployments.tracing.test_stages import Pipeline, batch

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
CANARY = "canary-4711"


class World:
    """A front door with one replica, which dies `deaths` times before it answers."""

    def __init__(
        self,
        *,
        sample: float = 1.0,
        per_second: float = 1000.0,
        deaths: int = 0,
        stages: StageTimes | None = None,
        keys: KeyFile | None = None,
    ) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        tracer = provider.get_tracer("test")
        self.replica, self.tracer = "r", ReplicaTracer(tracer, "tiny", "bf16", stages)
        self.deaths = deaths
        self.asked: list[Asked] = []

        async def nobody(key: Any) -> tuple[str, ...]:
            return ()

        presence = Presence(nobody, lambda key: None, set())
        channels = {("tiny", "bf16"): cast(Any, self)}
        replicas = Replicas(channels, presence, lambda *load: None, lambda *resumed: None)

        def generate(variant: str, request: Any) -> AsyncIterator[Delta]:
            return stream(replicas, "tiny", variant, request)

        requests = RequestTracer(tracer, Sampler(sample, per_second))
        self.app = create_app(make_service(FakeEngine(), generate=generate, tracer=requests, keys=keys))

    async def choose(self) -> Any:
        return self

    def call(self, asked: Asked) -> Any:
        self.asked.append(asked)
        return Call(self.answer(asked))

    async def answer(self, asked: Asked) -> AsyncGenerator[Delta]:
        trace = self.tracer.begin(asked.traces, asked.what.arrival_s) if asked.traces else None
        try:
            for token in (72, 73, EOS)[len(asked.what.generated) :]:
                timings = Timings(0.01, 0.02, 0.03)
                await asyncio.sleep(0.02)
                if trace is not None:
                    trace.took(1, timings)
                yield Delta((token,), FinishReason.STOP if token == EOS else None, timings=timings)
                if self.deaths:
                    self.deaths -= 1
                    raise ChannelLost("it died")
        finally:
            if trace is not None:
                trace.end()

    async def complete(self, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            body = {"model": "tiny", "prompt": CANARY, "stream": True}
            return await client.post("/v1/completions", json=body, headers=headers)

    @property
    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[Any]:
        return sorted((one for one in self.spans if one.name == name), key=lambda one: one.start_time)

    def tree(self) -> dict[str, list[str]]:
        """Names of spans, and of those below each, in order of time."""
        names = {one.context.span_id: one.name for one in self.spans}
        found: dict[str, list[str]] = {}
        for one in sorted(self.spans, key=lambda one: one.start_time):
            found.setdefault(names.get(one.parent.span_id, "caller") if one.parent else "", []).append(one.name)
        return found


class Call:
    def __init__(self, items: AsyncGenerator[Delta]) -> None:
        self.items = items

    async def next(self) -> Delta:
        delta = await anext(self.items)
        if delta.finished:  # as a replica does, whoever listens
            await self.items.aclose()
        return delta

    def cancel(self) -> None:
        pass


async def test_a_request_is_one_trace_below_the_callers() -> None:
    world = World()
    await world.complete(traceparent=CALLER)
    assert {f"{one.context.trace_id:032x}" for one in world.spans} == {TRACE}
    assert world.tree() == {
        "caller": ["POST /v1/completions"],
        "POST /v1/completions": ["read", "tokenize", "choose", "call", "answer"],
        "call": ["compute"],
        "compute": ["queue", "prefill", "decode"],
    }
    (root,) = world.named("POST /v1/completions")
    assert root.attributes["stageline.variant"] == "bf16"
    assert root.attributes["gen_ai.usage.output_tokens"] == 3
    assert [event.name for event in root.events].count("flush") >= 3
    assert [event.name for event in world.named("choose")[0].events] == ["candidate", "candidate"]
    for one in world.spans:
        assert root.start_time <= one.start_time <= one.end_time <= root.end_time + 50_000_000


async def test_a_stream_that_goes_on_elsewhere_has_a_span_for_each_replica() -> None:
    world = World(deaths=1)
    await world.complete()
    calls = world.named("call")
    assert [one.status.is_ok for one in calls] == [False, True]
    assert [one.attributes["gen_ai.usage.output_tokens"] for one in calls] == [1, 2]
    assert len({asked.traces for asked in world.asked}) == 2
    assert len(world.named("compute")) == 2


async def test_stages_have_spans_below_what_they_computed() -> None:
    ages = [[batch(0, 4e9)], [batch(1, 4e9)]]
    world = World(stages=StageTimes(Pipeline(ages, [[], []])))
    await world.complete()
    async with asyncio.timeout(20):
        while len(world.named("compute")) < 1:  # noqa: ASYNC110 - stages are asked in the background
            await asyncio.sleep(0.01)
    tree = world.tree()
    assert sorted(tree["prefill"]) == ["stage 0", "stage 1"]
    assert sorted(tree["decode"]) == ["stage 0", "stage 1"]


@pytest.mark.parametrize(
    ("sample", "headers", "traced"),
    [
        (0.0, {}, False),
        (0.0, {"traceparent": CALLER}, True),
        (1.0, {"traceparent": CALLER[:-1] + "0"}, False),
        (1.0, {"traceparent": "nonsense"}, True),
        (0.0, {"traceparent": "nonsense"}, False),
    ],
)
async def test_whoever_is_not_sampled_leaves_no_span(sample: float, headers: dict[str, str], traced: bool) -> None:
    world = World(sample=sample)
    await world.complete(**headers)
    assert bool(world.spans) is traced
    assert bool(world.asked[0].traces) is traced


async def test_spans_say_nothing_of_what_was_sent() -> None:
    world = World()
    await world.complete(Authorization=f"Bearer {CANARY}")
    assert len(world.spans) == 10
    assert CANARY not in "".join(one.to_json() for one in world.spans)


async def test_no_one_who_was_refused_is_left_without_an_end() -> None:
    world = World()
    transport = httpx.ASGITransport(world.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.post("/v1/completions", json={"model": "other", "prompt": "x"})
    (root,) = (one for one in world.spans if one.parent is None)
    assert root.attributes["http.response.status_code"] == 404
    assert root.attributes["error.type"] == "ModelNotFound"


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    """Of one key: mine."""
    path = tmp_path / "keys.yaml"
    path.write_text(f"keys: [{{name: mine, sha256: {digest_of(b'mine').hex()}, models: ['*']}}]")
    return KeyFile(path)


async def test_who_has_no_key_is_not_traced_whatever_he_sends(keys: KeyFile) -> None:
    world = World(sample=0.0, keys=keys)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Origin": "https://elsewhere.example"}):
        assert (await world.complete(traceparent=CALLER, **headers)).status_code == 401
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://test") as client:
        assert (await client.post("/health", headers={"traceparent": CALLER})).status_code == 405
    assert world.spans == []
    mine = {"Authorization": "Bearer mine", "traceparent": CALLER}
    assert (await world.complete(**mine)).status_code == 200
    assert len(world.spans) == 10
    assert {one.attributes["stageline.key"] for one in world.spans if "stageline.key" in one.attributes} == {"mine"}


async def test_who_has_no_key_takes_nobody_elses_trace(keys: KeyFile) -> None:
    world = World(per_second=1e-6, keys=keys)
    for _ in range(3):
        assert (await world.complete(Authorization="Bearer wrong")).status_code == 401
    for _ in range(2):
        assert (await world.complete(Authorization="Bearer mine")).status_code == 200
    assert len(world.spans) == 10


async def test_texts_are_computed_in_one_piece() -> None:
    world = World()
    for results in ([Encoded(None, 0.01, 0.02), Encoded(None, 0.02, 0.01)], []):
        trace = world.tracer.begin([CALLER], 1.0)
        trace.texts(results)
        trace.end()
    assert [one.name for one in world.spans] == ["queue", "run", "compute", "queue", "compute"]
