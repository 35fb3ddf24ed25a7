"""Where a model is cut, by what its stages may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.pipelines import Cut, boundaries, layer_caches
from deployments.settings.stages import Stages
from engine.checkpoint import open_checkpoint
from engine.config import EngineConfig
from engine.encoder.config import EncoderConfig
from engine.errors import ConfigError
from engine.seq2seq.config import Seq2SeqConfig
from tests.engine import tiny, tiny_encoders, tiny_seq2seq

MIB = 1 << 20


def cut_of(stages: Stages) -> Cut:
    cut = Cut.of(stages, cpus=1.0)
    assert cut is not None
    return cut


def test_memory_bounds_what_a_stage_holds_with_its_caches(tmp_path: Path) -> None:
    tiny.write_checkpoint("llama", tmp_path)
    config = EngineConfig(threads=1, kv_cache_bytes=30 * MIB)  # 10 MiB a layer; the weights are less than one
    with_room = Stages(count=2, memory=21 * MIB)
    assert boundaries("text-generation", tmp_path, config, cut_of(with_room)) in ((0, 1, 3), (0, 2, 3))
    assert boundaries("text-generation", tmp_path, config, cut_of(Stages(count=3, memory=11 * MIB))) == (0, 1, 2, 3)
    with pytest.raises(ConfigError, match="cannot be shared among stages with 19 MiB, 19 MiB: use more stages"):
        boundaries("text-generation", tmp_path, config, cut_of(Stages(count=2, memory=19 * MIB)))


def test_a_balance_is_taken_as_it_is(tmp_path: Path) -> None:
    tiny.write_checkpoint("llama", tmp_path)
    cut = cut_of(Stages(count=2, balance=(2, 1)))
    assert boundaries("text-generation", tmp_path, EngineConfig(), cut) == (0, 2, 3)


def test_only_layers_with_a_cache_share_it(tmp_path: Path) -> None:
    tiny_seq2seq.write_checkpoint("t5", tmp_path / "t5")  # encoder 3, decoder 2
    tiny_encoders.write_encoder("bert", tmp_path / "bert")
    with open_checkpoint(tmp_path / "t5") as checkpoint:
        assert layer_caches(checkpoint, "translation", Seq2SeqConfig(cache_bytes=9)) == [0, 0, 0, 4, 4]
    with open_checkpoint(tmp_path / "bert") as checkpoint:
        assert layer_caches(checkpoint, "embedding", EncoderConfig()) == [0, 0, 0]
