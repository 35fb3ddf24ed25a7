"""A worker's process on a small random model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from deployments.bench.contender import contender
from engine.config import EngineConfig
from engine.errors import EngineFailed
from tests.engine.tiny import write_checkpoint

SMALL = asdict(EngineConfig(precision="fp32", threads=1, kv_cache_bytes=4 << 20))


def test_a_worker_loads_measures_and_goes(tmp_path: Path) -> None:
    write_checkpoint("llama-large-vocabulary", tmp_path)
    with contender("engine", tmp_path, SMALL) as engine:
        assert engine.facts["weight_bytes"] > 0
        answer = engine.run(streams=3, tokens=4, prompt=5)
        assert answer["tokens"] == 12
        assert 0 < answer["first_s"] <= answer["seconds"]
    assert engine.process.poll() is not None


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match=r"no such|missing|not"), contender("engine", tmp_path / "nothing", SMALL):
        pass
