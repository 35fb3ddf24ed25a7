"""`stageline quantize` on small random models of every task: what it writes, tells and leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.measuring import recipes
from deployments.quality import Quality, read_quality
from deployments.settings import Task, load_settings
from deployments.variant_files import files_of, judge
from engine.checkpoint.prepared import FILE as PREPARED
from engine.errors import ConfigError
from engine.quantization.recipe import load_recipe
from tests.deployments.tiny_served import own_cache, write_config, write_data, write_model

TASKS: list[Task] = ["text-generation", "text-classification", "embedding", "translation"]
WIDE = ", gate: {max_perplexity_increase: 9, max_accuracy_drop: 1, max_bleu_drop: 100, min_cosine: 0}"  # random models


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cache(tmp_path, monkeypatch)


def command(task: Task, folder: Path, precision: str, *more: str) -> list[str]:
    config = write_config(task, folder, folder / "base", more=WIDE)
    data, reference = write_data(task, folder)
    arguments = ["quantize", "tiny", "--precision", precision, "--config", str(config), "--eval", str(data)]
    arguments += [] if reference is None else ["--reference", str(reference)]
    return [*arguments, "--out", str(folder / "made" / precision), "--rounds", "0", *more]


def quantize(task: Task, folder: Path, precision: str, *more: str) -> Quality:
    result = CliRunner().invoke(app, command(task, folder, precision, *more), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return Quality.model_validate_json(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("task", TASKS)
def test_what_is_written_is_served(task: Task, tmp_path: Path) -> None:
    write_model(task, tmp_path / "base")
    data = str(write_data(task, tmp_path)[0])
    told = quantize(task, tmp_path, "int8-static", "--calibration", data)
    folder = tmp_path / "made" / "int8-static"
    assert read_quality(folder) == told
    assert (told.task, told.precision, told.reference.precision) == (task, "int8-static", "fp32")
    assert told.variant.size_bytes < told.reference.size_bytes
    assert told.recipe == load_recipe(folder).digest()
    assert 0 < told.retained <= 1
    if task != "embedding":
        assert told.kl is not None
        assert told.kl > 0
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["int8-static"]
    variant = "{precision: int8-static, prepared: made/int8-static}"
    settings = load_settings(write_config(task, tmp_path, tmp_path / "base", variant, more=WIDE))
    judged = judge(settings, {"tiny": tmp_path / "base"})
    assert judged["tiny", "int8-static"].verdict.quality == told
    assert list(files_of(judged).values()) == [folder]


def test_a_recipe_alone_is_small_and_gives_the_same(tmp_path: Path) -> None:
    write_model("text-generation", tmp_path / "base")
    data = str(write_data("text-generation", tmp_path)[0])
    whole = quantize("text-generation", tmp_path, "int4-weight", "--calibration", data, "--group", "16")
    again = quantize(
        "text-generation", tmp_path, "int4-weight", "--calibration", data, "--group", "16", "--recipe-only"
    )
    folder = tmp_path / "made" / "int4-weight"
    names = {path.name for path in folder.iterdir()}
    assert names <= {"recipe.json", "calibration.safetensors", "quality.json"}
    assert (again.recipe, again.base, again.variant.scores) == (whole.recipe, whole.base, whole.variant.scores)
    assert load_recipe(folder).group == 16


def test_bf16_is_only_measured(tmp_path: Path) -> None:
    write_model("text-generation", tmp_path / "base")
    told = quantize("text-generation", tmp_path, "bf16")
    assert [path.name for path in (tmp_path / "made" / "bf16").iterdir()] == ["quality.json"]
    assert told.recipe is None
    assert told.variant.size_bytes * 2 == told.reference.size_bytes
    assert told.agreement is not None
    assert told.agreement > 0.9


@pytest.mark.parametrize("task", ["text-generation", "text-classification", "translation"])
def test_speed_is_measured_in_turns_and_drawn(task: Task, tmp_path: Path) -> None:
    write_model(task, tmp_path / "base")
    told = quantize(task, tmp_path, "int8-weight", "--rounds", "1", "--count", "8")
    unit = {"text-generation": "tokens", "translation": "sentences"}.get(task, "texts")
    assert list(told.variant.speed) == [f"{unit}_per_s_1", f"{unit}_per_s_32"]
    assert all(rate > 0 for rate in (*told.variant.speed.values(), *told.reference.speed.values()))
    assert told.variant.load_s is not None
    assert (tmp_path / "made" / "quality.png").read_bytes().startswith(b"\x89PNG")


def test_named_products_stay_as_they_are(tmp_path: Path) -> None:
    write_model("text-generation", tmp_path / "base")
    data = str(write_data("text-generation", tmp_path)[0])
    quantize("text-generation", tmp_path, "int8-weight", "--calibration", data, "--keep", "head,layers.1.*")
    about = json.loads((tmp_path / "made" / "int8-weight" / PREPARED).read_text())
    kept = {name for name, scheme in about["products"].items() if scheme is None}
    assert kept == {"head", *(f"layers.1.{part}" for part in ("qkv", "out", "up", "down"))}
    with pytest.raises(ConfigError, match=r"--keep layers\.9"):
        quantize("text-generation", tmp_path, "int8-weight", "--calibration", data, "--keep", "layers.9.*")


def test_without_calibration_there_is_what_needs_none(tmp_path: Path) -> None:
    write_model("text-generation", tmp_path / "base")
    quantize("text-generation", tmp_path, "int8-dynamic")
    assert load_recipe(tmp_path / "made" / "int8-dynamic").multipliers == {}
    with pytest.raises(ConfigError, match="int8-static needs data"):
        quantize("text-generation", tmp_path, "int8-static")


@pytest.mark.parametrize("task", TASKS)
def test_the_same_command_gives_the_same_figures(task: Task, tmp_path: Path) -> None:
    write_model(task, tmp_path / "base")
    data = str(write_data(task, tmp_path)[0])
    one, other = (quantize(task, tmp_path, "int8-dynamic", "--calibration", data, "--count", "6") for _ in range(2))
    assert one.model_copy(update={"origin": {}}) == other.model_copy(update={"origin": {}})
    if task != "text-generation":
        assert {file.count for file in one.data} == {6}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "{base}"], "holds something else"),
        (["--config", "{none}"], "none"),
        (["--calibration", "{none}"], "cannot be read"),
        (["--group", "7", "--calibration", "{data}"], "group: 7"),
    ],
)
def test_what_cannot_be_leaves_nothing(arguments: list[str], told: str, tmp_path: Path) -> None:
    write_model("text-generation", tmp_path / "base")
    before = sorted((tmp_path / "base").iterdir())
    places = {"base": tmp_path / "base", "none": tmp_path / "none", "data": tmp_path / "data.txt"}
    given = [argument.format(**places) for argument in arguments]
    with pytest.raises(ConfigError, match=told):
        quantize("text-generation", tmp_path, "int8-weight", *given)
    assert not (tmp_path / "made").exists() or not list((tmp_path / "made").iterdir())
    assert sorted((tmp_path / "base").iterdir()) == before


def test_data_that_does_not_fit_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model("text-classification", tmp_path / "base")
    monkeypatch.setattr(recipes, "make_recipe", None)
    given = command("text-classification", tmp_path, "int8-dynamic", "--calibration", str(tmp_path / "data.csv"))
    (tmp_path / "data.csv").write_text("text,label\nA man,purple\n")
    with pytest.raises(ConfigError, match="tiny has no label 'purple'"):
        CliRunner().invoke(app, given, catch_exceptions=False)
    assert not (tmp_path / "made").exists()


def test_data_is_needed(tmp_path: Path) -> None:
    write_model("translation", tmp_path / "base")
    given = command("translation", tmp_path, "bf16")
    at = given.index("--reference")
    with pytest.raises(ConfigError, match="--reference"):
        CliRunner().invoke(app, given[:at] + given[at + 2 :], catch_exceptions=False)
    at = given.index("--eval")
    with pytest.raises(ConfigError, match="--eval"):
        CliRunner().invoke(app, given[:at] + given[at + 2 :], catch_exceptions=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_in_the_middle_leaves_nothing(tmp_path: Path, number: int) -> None:
    write_model("text-generation", tmp_path / "base")
    given = command("text-generation", tmp_path, "int8-weight")
    data = tmp_path / "data.txt"
    data.write_text(data.read_text() * 3000)  # long enough to be stopped in
    environment: dict[str, Any] = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", *given], env=environment, stderr=subprocess.PIPE, text=True
    )
    staging, made = tmp_path / "made" / ".int8-weight.partial", tmp_path / "made"
    deadline = time.monotonic() + 120
    while not (staging / PREPARED).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 1)
    assert "nothing was written" in said
    assert "Traceback" not in said
    assert list(made.iterdir()) == []
