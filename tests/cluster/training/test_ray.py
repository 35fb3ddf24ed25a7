"""The same training on Ray Train: its result does not depend on the workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cluster.node import RayNode, local_node, node_temp_dir
from cluster.training.launch import environment, finished, run_on
from cluster.training.metrics import read_metrics
from cluster.training.recipe import Cadence, Recipe, RunFolder
from cluster.training.translation import TranslationTask
from cluster.training.worker import Job, train
from cluster.training.world import World
from engine.errors import ConfigError
from tests.cluster.training.test_translation import SIZE

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def node() -> Iterator[RayNode]:
    with (
        pytest.MonkeyPatch.context() as patch,
        node_temp_dir() as folder,
    ):
        patch.setattr("cluster.node.available_cores", lambda: 2)  # by Ray's count; it may be one that they share
        with local_node(environment(), folder) as started:
            yield started


def losses(folder: Path) -> list[float]:
    lines = read_metrics(folder / "metrics.jsonl")
    return [line[key] for key in ("loss", "valid_loss") for line in lines if key in line]


def test_two_workers_get_what_one_gets(node: RayNode, pairs: Path, tmp_path: Path) -> None:
    """With dropout, and with steps of three micro-batches, and of one, which leave the second worker idle."""
    recipe = Recipe(
        epochs=2, batch=300, micro_batch=100, unit="tokens", learning_rate=5e-3, warmup_steps=4, average=0.9
    )
    task = TranslationTask(
        recipe,
        pairs / "train.en",
        pairs / "train.de",
        valid=(pairs / "valid.en", pairs / "valid.de"),
        size=replace(SIZE, dropout=0.2),
        translate_every=0,
    )
    cadence = Cadence(log_steps=1)
    train(Job(task, RunFolder(tmp_path / "one"), cadence), World())
    run_on(node, Job(task, RunFolder(tmp_path / "two"), cadence), workers=2)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) > 10
    assert two == pytest.approx(one, rel=2e-4)
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")]
    for name, tensor in weights[0].items():
        assert float((tensor.float() - weights[1][name].float()).abs().max()) < 0.01
    assert finished(RunFolder(tmp_path / "two"))["steps"] == finished(RunFolder(tmp_path / "one"))["steps"]


def test_more_workers_than_cores_are_refused(node: RayNode, pairs: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch=256, micro_batch=256, unit="tokens", learning_rate=1e-3)
    task = TranslationTask(recipe, pairs / "train.en", pairs / "train.de", size=SIZE)
    with pytest.raises(ConfigError, match=r"3 workers with 2 threads each need 6 cores, there are 2\."):
        run_on(node, Job(task, RunFolder(tmp_path), threads=2), workers=3)
