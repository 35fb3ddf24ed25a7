"""`stageline serve` with quantized variants: what the gate refuses never starts, what it lets through answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cluster.node import free_ports
from deployments.cli import app
from deployments.quality import read_quality, write_quality
from deployments.sources.weights import weights_digest
from engine.errors import ConfigError
from engine.quantization.recipe import Recipe, save_recipe
from tests.deployments.cli.test_serve import started, wait_for
from tests.deployments.measured import quality
from tests.deployments.tiny_served import LABELS, own_cache, write_config, write_model

RECIPE = Recipe("int8-weight", group=16)
MEASURED = "{precision: int8-weight, prepared: made, cores: 1}"
UNMEASURED = "{precision: int8-dynamic, cores: 1}"


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A classifier, with a measured recipe beside it."""
    own_cache(tmp_path, monkeypatch)
    path = write_model("text-classification", tmp_path / "base")
    save_recipe(RECIPE, tmp_path / "made")
    measured = quality(
        "text-classification", precision="int8-weight", base=weights_digest(path), recipe=RECIPE.digest()
    )
    write_quality(measured, tmp_path / "made")
    return path


def serve(config: Path, *more: str) -> str:
    arguments = ["serve", str(config), "--port", str(free_ports(1)[0]), *more]
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    return caught.value.message


def test_what_the_gate_refuses_never_starts(base: Path, tmp_path: Path) -> None:
    config = write_config("text-classification", tmp_path, base, MEASURED, UNMEASURED)
    assert serve(config).startswith("tiny:int8-dynamic is not served: its quality was never measured.")
    found = read_quality(tmp_path / "made")
    assert found is not None
    scores = found.variant.model_copy(update={"scores": {"accuracy": 0.9}})
    write_quality(found.model_copy(update={"variant": scores}), tmp_path / "made")
    told = serve(config, "--allow-unmeasured")
    assert told.startswith("tiny:int8-weight loses too much: accuracy 0.9000 where fp32 has 0.9300")
    shutil.rmtree(tmp_path / "made")
    assert "there is no folder" in serve(config)
    assert not (tmp_path / "cache" / "prepared").exists()


@pytest.mark.ray
def test_variants_answer_from_their_own_files(base: Path, tmp_path: Path) -> None:
    port, log = free_ports(1)[0], tmp_path / "log"
    config = write_config("text-classification", tmp_path, base, MEASURED, UNMEASURED)
    with started(port, log, str(config), "--allow-unmeasured") as process:
        wait_for(lambda server: server.state == "ready", process, log)
        for variant in ("int8-weight", "int8-dynamic"):
            answer = httpx.post(
                f"http://127.0.0.1:{port}/classify", json={"model": f"tiny:{variant}", "input": "A man"}, timeout=60
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["data"][0]["label"] in LABELS
            assert answer.headers["X-Stageline-Variant"] == variant
    said = " ".join(log.read_text().split())
    assert "Warning: tiny:int8-dynamic is served all the same, but its quality was never measured." in said
    assert len([path for path in (tmp_path / "cache" / "prepared").iterdir() if path.is_dir()]) == 2
