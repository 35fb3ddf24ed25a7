"""All variants of a small random classifier beside fp32, in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.quality import read_quality
from deployments.settings import Task
from engine.errors import ConfigError
from tests.deployments.tiny_served import own_cache, write_config, write_data, write_model

TASK: Task = "text-classification"
FIGURES = ["texts_per_s_1", "texts_per_s_32"]
WIDE = ", gate: {max_accuracy_drop: 1}"  # a random model


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with bf16, which nobody measured, and int8-dynamic, whose quality is known and whose speed is not."""
    own_cache(tmp_path, monkeypatch)
    write_model(TASK, tmp_path / "base")
    data, _ = write_data(TASK, tmp_path)
    folder = tmp_path / "made" / "int8-dynamic"
    plain = write_config(TASK, tmp_path, tmp_path / "base", more=WIDE)
    command = ["quantize", "tiny", "--precision", "int8-dynamic", "--config", str(plain), "--eval", str(data)]
    assert CliRunner().invoke(app, [*command, "--out", str(folder), "--rounds", "0"]).exit_code == 0
    variants = "{precision: bf16}, {precision: int8-dynamic, prepared: made/int8-dynamic}"
    return write_config(TASK, tmp_path, tmp_path / "base", variants, more=WIDE)


def test_each_variant_is_measured_and_told(config: Path, tmp_path: Path) -> None:
    data, _ = write_data(TASK, tmp_path)
    command = ["bench", "variants", str(config), "--model", "tiny", "--rounds", "1", "--write"]
    with pytest.raises(ConfigError, match="--data"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    result = CliRunner().invoke(app, [*command, "--data", str(data)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert list(told["variants"]) == ["fp32", "bf16", "int8-dynamic"]
    for found in told["variants"].values():
        assert list(found["speed"]) == FIGURES
        assert found["load_s"] > 0
        assert found["times_fp32"] == pytest.approx(
            {name: value / told["variants"]["fp32"]["speed"][name] for name, value in found["speed"].items()}
        )
    quality = read_quality(tmp_path / "made" / "int8-dynamic")
    assert quality is not None
    assert quality.variant.speed == told["variants"]["int8-dynamic"]["speed"]
    assert quality.reference.speed == told["variants"]["fp32"]["speed"]
    assert quality.speedup == told["variants"]["int8-dynamic"]["times_fp32"]["texts_per_s_32"]
    assert quality.speed_origin["commit"] == told["commit"]
    assert (tmp_path / "made" / "quality.png").stat().st_size > 0
