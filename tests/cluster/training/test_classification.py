from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from cluster.training.classification import ClassificationTask
from cluster.training.metrics import read_metrics
from cluster.training.recipe import Cadence, Recipe, RunFolder
from cluster.training.teachers import Teacher
from cluster.training.worker import Job, train
from cluster.training.world import World
from engine.errors import ConfigError

RECIPE = Recipe(
    epochs=6,
    batch=16,
    micro_batch=8,
    unit="examples",
    learning_rate=5e-3,
    warmup_steps=5,
    average=0.8,
    schedule="linear",
)


def run(task: ClassificationTask, folder: Path) -> dict[str, float]:
    task.check()
    return train(Job(task, RunFolder(folder), Cadence(log_steps=1)), World())


@pytest.fixture
def task(tiny_bert: Path, texts: Path) -> ClassificationTask:
    return ClassificationTask(RECIPE, tiny_bert, texts / "train.csv", test=texts / "test.csv")


def test_a_trained_classifier_loads_in_transformers(task: ClassificationTask, tmp_path: Path) -> None:
    from transformers import pipeline

    quality = run(replace(task, hold_out=0.2), tmp_path)
    assert quality["accuracy"] > 0.85
    classify = pipeline("text-classification", model=str(tmp_path / "model"))
    assert classify.model.config.problem_type == "single_label_classification"
    assert [found["label"] for found in classify(["the cat sleeps", "a red house"])] == ["cat", "other"]
    summary = json.loads((tmp_path / "training.json").read_text())
    assert summary["quality"] == quality
    assert "| accuracy | " in (tmp_path / "model" / "README.md").read_text()
    assert all("valid_accuracy" in line for line in read_metrics(tmp_path / "metrics.jsonl") if "valid_loss" in line)


def test_frozen_layers_stay_and_changes_are_small(task: ClassificationTask, tiny_bert: Path, tmp_path: Path) -> None:
    quality = run(replace(task, layers=1, only_changes=True), tmp_path)
    assert quality["accuracy"] > 0.6
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as stored:
        names = set(stored.keys())
    assert {"classifier.weight", "pooler.dense.weight"} <= names
    assert all(name.startswith(("classifier.", "pooler.", "encoder.layer.2.")) for name in names)


def test_several_labels_at_once(task: ClassificationTask, tmp_path: Path) -> None:
    rows = ["the cat,cat", "a dog,dog", "cat dog,cat|dog", "dog the cat,dog|cat"] * 12
    (tmp_path / "multi.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    recipe = replace(RECIPE, epochs=30)
    multi = replace(task, recipe=recipe, kind="multi", train=tmp_path / "multi.csv", test=tmp_path / "multi.csv")
    assert run(multi, tmp_path / "run")["accuracy"] > 0.9
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"] == {"0": "cat", "1": "dog"}


def test_regression(task: ClassificationTask, tmp_path: Path) -> None:
    rows = ["the cat,1.5", "a dog,-0.5", "red house,0.5"] * 12
    (tmp_path / "values.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    recipe = replace(RECIPE, epochs=30)
    values = replace(
        task, recipe=recipe, kind="regression", train=tmp_path / "values.csv", test=tmp_path / "values.csv"
    )
    assert run(values, tmp_path / "run")["rmse"] < 0.5
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["problem_type"] == "regression"


def test_a_student_learns_from_its_teachers_logits_alone(task: ClassificationTask, tmp_path: Path) -> None:
    run(task, tmp_path / "teacher")
    wrong = tmp_path / "wrong.csv"  # the labels are turned round: who learns from them fails the test
    text = task.train.read_text().replace(",cat\n", ",x\n").replace(",other\n", ",cat\n").replace(",x\n", ",other\n")
    wrong.write_text(text)
    student = replace(task, train=wrong, teacher=Teacher(tmp_path / "teacher" / "model", share=1.0))
    assert run(student, tmp_path / "student")["accuracy"] > 0.8
    assert (tmp_path / "student" / "prepared" / "teacher-logits.safetensors").exists()
    assert run(replace(student, teacher=None), tmp_path / "misled")["accuracy"] < 0.5


def test_a_teacher_of_other_labels_is_refused(task: ClassificationTask, tmp_path: Path) -> None:
    short = replace(task, recipe=replace(RECIPE, epochs=1))
    run(short, tmp_path / "teacher")
    (tmp_path / "other.csv").write_text("text,label\nthe cat,yes\na dog,no\n")
    student = replace(short, train=tmp_path / "other.csv", test=None, teacher=Teacher(tmp_path / "teacher" / "model"))
    with pytest.raises(ConfigError, match="the same ones in the same order"):
        student.check()


def test_bad_data_is_told_before_anything_starts(task: ClassificationTask, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("text,label\nthe cat,a\na dog,a\n")
    with pytest.raises(ConfigError, match="one label only"):
        replace(task, train=tmp_path / "one.csv").check()
    (tmp_path / "test.csv").write_text("text,label\nthe cat,bird\n")
    with pytest.raises(ConfigError, match=r"labels that the training data does not have \(1\): bird"):
        replace(task, test=tmp_path / "test.csv").check()
    with pytest.raises(ConfigError, match="is no number"):
        replace(task, kind="regression").check()
    with pytest.raises(ConfigError, match=r"no config\.json"):
        replace(task, base=tmp_path).check()
    with pytest.raises(ConfigError, match="has 3 layers, not 4"):
        replace(task, layers=4).check()


def test_texts_are_cut_where_the_model_ends(task: ClassificationTask) -> None:
    assert replace(task, longest=5000).cut_at == 32
    assert replace(task, longest=7).cut_at == 7


def test_the_identity_knows_data_by_content_and_not_by_place(task: ClassificationTask, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_bytes(task.train.read_bytes())
    assert replace(task, train=copy).identity() == task.identity()
    copy.write_bytes(copy.read_bytes() + b"the tree,other\n")
    assert replace(task, train=copy).identity() != task.identity()
    assert torch.is_grad_enabled()
