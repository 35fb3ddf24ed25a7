"""Stages of a real model from its files: each holds its own part, and together they say what one process says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.config import EngineConfig
from engine.engine import Engine
from engine.load import load_engine
from engine.pipeline.generation_load import load_decoder_stage, load_staged_decoder
from engine.pipeline.message import Message
from engine.request import Request, SamplingParams
from tests.engine.pipeline.staged import StagedRunner

pytestmark = pytest.mark.model

CONFIG = EngineConfig(precision="bf16", threads=1, kv_cache_bytes=32 << 20)


def test_the_demo_model_in_two_stages(demo_model: Path) -> None:
    stages = [load_decoder_stage(demo_model, CONFIG, *bounds) for bounds in ((0, 18), (18, 30))]
    table = 49152 * 576 * 2
    layer = (sum(stage.weight_bytes for stage in stages) - 2 * table) / 30
    # The first also holds the turns of rotary positions, as the last does: hardly anything.
    assert [(stage.weight_bytes - table) / layer for stage in stages] == pytest.approx([18, 12], abs=0.05)
    assert stages[0].cache_bytes * 12 == stages[1].cache_bytes * 18
    staged = load_staged_decoder(demo_model, CONFIG, StagedRunner(stages, same, same))
    torch.manual_seed(0)
    wanted = [
        Request(
            str(i),
            tuple(torch.randint(0, 49152, (5 + 40 * i,)).tolist()),
            SamplingParams(24, temperature=0.8 * (i % 2), seed=i, logprobs=2, ignore_eos=True),
        )
        for i in range(6)
    ]
    assert generated(staged, wanted) == generated(load_engine(demo_model, CONFIG), wanted)


def same(message: Message) -> Message:
    return message


def generated(engine: Engine, wanted: list[Request]) -> dict[str, list[tuple[object, ...]]]:
    found: dict[str, list[tuple[object, ...]]] = {request.id: [] for request in wanted}
    for request in wanted:
        engine.add(request, engine.prepare(request))
    while not engine.idle:
        for request_id, delta in engine.step():
            found[request_id].append((delta.tokens, delta.logprobs, delta.finish_reason))
    return found
