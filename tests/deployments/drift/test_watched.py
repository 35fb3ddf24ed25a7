"""Live answers compared in the background: a bad variant is seen, and no request waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deployments.drift import watch as watching
from deployments.drift.metrics import DriftMetrics
from deployments.drift.watch import DriftWatch, reference
from deployments.drift.watched import LAST, watched
from deployments.front_door.served_models import ClassificationModel, GenerationModel
from deployments.routing.prediction import Demand, Objective
from deployments.routing.router import Ask, Router
from deployments.variants import VariantInfo
from engine.checkpoint import open_checkpoint
from engine.config import EngineConfig
from engine.encoder.request import Encoded, EncodeRequest
from engine.engine import Engine
from engine.load import load_engine
from engine.request import Delta, Request, SamplingParams
from tests.deployments.front_door.fakes import FakeEngine, byte_tokenizer, make_service
from tests.engine.tiny import FAMILIES, write_checkpoint, write_transformers

VARIANTS = (
    VariantInfo("best", retained=1.0, measured=True),
    VariantInfo("good", retained=0.99, measured=True, speedup=2.0),
    VariantInfo("bad", retained=0.98, measured=True, speedup=3.0),
    VariantInfo("asleep", "asleep", retained=1.0, may_sleep=True),
)
GREEDY = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True)
BY_CHANCE = SamplingParams(max_tokens=12, temperature=1.0, seed=3, ignore_eos=True)
LIMIT_S = 30.0

always: Callable[..., DriftWatch] = partial(DriftWatch, draw=lambda: 0.0)


def value(metrics: DriftMetrics, name: str, variant: str, **labels: str) -> float:
    wanted = {"model_name": "tiny", "engine": variant, **labels}
    families = {family.name: family for family in metrics.collect()}
    samples = families[f"stageline:drift_{name}"].samples
    return sum(one.value for one in samples if one.labels == wanted)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Engine]:
    """The same weights in fp32 and bf16, and other ones."""
    right, wrong = tmp_path_factory.mktemp("right"), tmp_path_factory.mktemp("wrong")
    write_checkpoint("llama", right)
    torch.manual_seed(1)
    write_transformers(*FAMILIES["llama"], wrong)

    def load(path: Path, precision: Any) -> Engine:
        with open_checkpoint(path):
            return load_engine(path, EngineConfig(precision=precision, threads=1, kv_cache_bytes=8 << 20))

    return {"best": load(right, "fp32"), "good": load(right, "bf16"), "bad": load(wrong, "fp32")}


def model_of(generate: Any, **changes: Any) -> GenerationModel:
    model = make_service(FakeEngine(), variants=VARIANTS, generate=generate, **changes).models["tiny"]
    assert isinstance(model, GenerationModel)
    return model


@pytest.mark.parametrize("sampling", [GREEDY, BY_CHANCE], ids=["greedy", "by chance"])
async def test_a_variant_with_wrong_weights_is_seen(engines: Mapping[str, Engine], sampling: SamplingParams) -> None:
    async def generate(variant: str, request: Request) -> AsyncIterator[Delta]:
        engine = engines[variant]
        engine.add(request, engine.prepare(request))
        while not engine.idle:
            for _, delta in engine.step():
                yield delta

    metrics = DriftMetrics()
    model = watched(model_of(generate), 1.0, metrics, always)
    assert isinstance(model, GenerationModel)
    for variant in ("good", "bad"):
        for number in range(6):
            request = Request(f"r{number}", (1, 2 + number, 3), sampling)
            plain = [token async for delta in generate(variant, request) for token in delta.tokens]
            deltas = [delta async for delta in model.generate(variant, request)]
            assert [token for delta in deltas for token in delta.tokens] == plain
            assert not any(delta.logprobs for delta in deltas), "nobody asked for them"
            await until(lambda count=number + 1, one=variant: value(metrics, "answers", one) == count)  # type: ignore[misc]
    for variant in ("good", "bad"):
        assert value(metrics, "compared", variant) == 6 * 12
    assert value(metrics, "agreed", "good") / 72 > 0.85
    assert value(metrics, "agreed", "bad") / 72 < 0.3
    assert value(metrics, "gap", "bad") > 5 * value(metrics, "gap", "good")


async def test_classes_and_their_probabilities() -> None:
    rows = {"best": [4.0, 1.0, 0.0], "good": [3.5, 1.0, 0.0], "bad": [0.0, 1.0, 4.0]}
    asked: list[tuple[str, int]] = []

    async def encode(variant: str, requests: tuple[EncodeRequest, ...]) -> list[Encoded]:
        asked.extend((variant, one.priority) for one in requests)
        return [Encoded(np.array(rows[variant], np.float32)) for _ in requests]

    plain = ClassificationModel(
        name="tiny",
        variants=VARIANTS,
        max_model_len=64,
        tokenizer=byte_tokenizer(),
        vocab_size=258,
        encode=encode,
        labels=("a", "b", "c"),
    )
    metrics = DriftMetrics()
    model = watched(plain, 1.0, metrics, always)
    assert isinstance(model, ClassificationModel)
    for variant in ("good", "bad", "best"):
        await model.encode(variant, (EncodeRequest("a", (1,)), EncodeRequest("b", (2,))))
    await until(lambda: value(metrics, "answers", "bad") == 1)
    assert (value(metrics, "compared", "good"), value(metrics, "agreed", "good")) == (2, 2)
    assert (value(metrics, "compared", "bad"), value(metrics, "agreed", "bad")) == (2, 0)
    assert asked.count(("best", LAST)) == 4, "behind all others, and never for the reference itself"


class Gated:
    """A fake engine whose reference waits until the test lets it go on."""

    def __init__(self) -> None:
        self.engine, self.free = FakeEngine(text="abc"), asyncio.Event()
        self.closed = 0

    async def generate(self, variant: str, request: Request) -> AsyncIterator[Delta]:
        if variant == "best":
            try:
                await self.free.wait()
            except asyncio.CancelledError:
                self.closed += 1
                raise
        async for delta in self.engine.generate(variant, request):
            yield delta


@pytest.fixture
def gated() -> Gated:
    return Gated()


async def answer(model: GenerationModel, variant: str = "good") -> None:
    async for _ in model.generate(variant, Request("r", (1, 2), SamplingParams(max_tokens=3))):
        pass


def live(router: Router, variant: str = "best") -> Any:
    """A request that is open there, for as long as this is held."""
    _, ticket = router.choose(Ask(Demand(10, 10), pinned=variant))
    return ticket


async def test_a_request_to_the_reference_ends_the_comparison(gated: Gated) -> None:
    metrics = DriftMetrics()
    model = watched(model_of(gated.generate), 1.0, metrics, always)
    assert isinstance(model, GenerationModel)
    await answer(model)
    await until(lambda: bool(gated.engine.requests))
    await asyncio.sleep(0)
    ticket = live(model.router)
    await until(lambda: value(metrics, "skipped", "good", reason="busy") == 1)
    await until(lambda: gated.closed == 1)
    ticket.close()
    gated.free.set()
    await answer(model)
    await until(lambda: value(metrics, "answers", "good") == 1)


async def test_nothing_is_asked_of_a_reference_that_is_busy(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PATIENCE_S", 0.1)
    metrics = DriftMetrics()
    model = watched(model_of(gated.generate), 1.0, metrics, always)
    assert isinstance(model, GenerationModel)
    ticket = live(model.router)
    await answer(model)
    await until(lambda: value(metrics, "skipped", "good", reason="busy") == 1)
    assert gated.engine.variants == ["good"]
    ticket.close()


async def test_what_is_asked_belongs_to_no_request() -> None:
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    seen: list[str] = []

    async def generate(variant: str, request: Request) -> AsyncIterator[Delta]:
        seen.append(whose.get())
        async for delta in FakeEngine(text="abc").generate(variant, request):
            yield delta

    metrics = DriftMetrics()
    model = watched(model_of(generate), 1.0, metrics, always)
    assert isinstance(model, GenerationModel)
    whose.set("a caller's")
    await answer(model)
    await until(lambda: value(metrics, "answers", "good") == 1)
    assert seen == ["a caller's", "nobody's"]


async def test_few_answers_are_kept(gated: Gated) -> None:
    metrics = DriftMetrics()
    model = watched(model_of(gated.generate), 1.0, metrics, always)
    assert isinstance(model, GenerationModel)
    for _ in range(watching.MOST_WAITING + 3):
        await answer(model)
    assert value(metrics, "skipped", "good", reason="dropped") >= 1


async def test_a_comparison_that_fails_is_counted(gated: Gated) -> None:
    gated.free.set()
    metrics = DriftMetrics()
    model = watched(model_of(gated.generate), 1.0, metrics, always)
    assert isinstance(model, GenerationModel)
    gated.engine.script = lambda request: (
        gated.engine.answer(request) if request.sampling.max_tokens else [Delta(error=RuntimeError("gone"))]
    )
    await answer(model)
    await until(lambda: value(metrics, "skipped", "good", reason="failed") == 1)


async def test_what_cannot_be_compared_is_left_alone(gated: Gated) -> None:
    model = watched(model_of(gated.generate), 1.0, DriftMetrics(), always)
    assert isinstance(model, GenerationModel)
    for sampling in (SamplingParams(max_tokens=3, repetition_penalty=1.2), SamplingParams(max_tokens=3, logprobs=0)):
        async for _ in model.generate("good", Request("r", (1, 2), sampling)):
            pass
        assert gated.engine.requests[-1].sampling == sampling


async def test_a_share_of_answers_is_taken() -> None:
    drawn = iter([0.2, 0.05])
    router = Router("tiny", VARIANTS, Objective(1.0))
    watch = DriftWatch(router, 0.1, DriftMetrics(), draw=lambda: next(drawn))
    assert not watch.wants("best"), "the reference itself: nothing is drawn"
    assert not watch.wants("good")
    assert watch.wants("good")


def test_the_reference_is_the_best_that_always_runs() -> None:
    assert reference(Router("m", VARIANTS, Objective(1.0))) == "best"
    assert reference(Router("m", VARIANTS[:1], Objective(1.0))) is None
    assert reference(Router("m", (VARIANTS[3],) * 1, Objective(1.0))) is None


def test_without_a_share_models_are_as_they_are(gated: Gated) -> None:
    model = model_of(gated.generate)
    assert watched(model, 0.0, DriftMetrics()) is model
