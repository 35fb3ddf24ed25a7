"""What a checkpoint says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.checkpoint import open_checkpoint
from engine.encoder.describe import EncoderInfo, Task, describe
from engine.errors import CheckpointError
from tests.engine.encoder.test_heads import MODULES, write_sentence_files
from tests.engine.tiny_encoders import write_encoder

CLASSIFIER = "AutoModelForSequenceClassification"


def info(folder: Path, task: Task) -> EncoderInfo:
    with open_checkpoint(folder) as checkpoint:
        return describe(checkpoint, task)


def change(folder: Path, **keys: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **keys}))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
def test_labels(family: str, tmp_path: Path) -> None:
    names = {i: f"intent {i}" for i in range(12)}
    write_encoder(family, tmp_path, CLASSIFIER, id2label=names, label2id={v: k for k, v in names.items()})
    found = info(tmp_path, "text-classification")
    assert found.labels == tuple(names.values())
    assert (found.dimension, found.problem) == (12, "single")
    assert found.max_tokens == (126 if family == "roberta" else 128)


@pytest.mark.parametrize(
    ("count", "kind", "expected"),
    [
        (1, None, "regression"),
        (3, None, "single"),
        (3, "multi_label_classification", "multi"),
        (2, "regression", "regression"),
        (1, "single_label_classification", "single"),
    ],
)
def test_problems(count: int, kind: str | None, expected: str, tmp_path: Path) -> None:
    write_encoder("bert", tmp_path, CLASSIFIER, num_labels=count)
    change(tmp_path, problem_type=kind, id2label=None)
    found = info(tmp_path, "text-classification")
    assert found.problem == expected
    assert found.labels == tuple(f"LABEL_{i}" for i in range(count))


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"id2label": {"0": "yes"}}, "names 1 labels, the model has 3"),
        ({"id2label": {"0": "a", "1": "b", "7": "c"}}, "id2label"),
        ({"problem_type": "ranking"}, "problem_type 'ranking'"),
        ({"max_position_embeddings": 0}, "max_position_embeddings"),
    ],
)
def test_a_classifier_that_does_not_fit_says_why(keys: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    write_encoder("bert", tmp_path, CLASSIFIER, num_labels=3)
    change(tmp_path, **keys)
    with pytest.raises(CheckpointError, match=complaint):
        info(tmp_path, "text-classification")


def test_embeddings(tmp_path: Path) -> None:
    write_encoder("bert", tmp_path)
    assert info(tmp_path, "embedding") == EncoderInfo(48, 128, pooling=("mean",), normalize=True)
    write_sentence_files(tmp_path, MODULES[:2], pooling_mode_cls_token=True, pooling_mode_mean_tokens=True)
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 90, "do_lower_case": True}))
    (tmp_path / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "query: "}, "default_prompt_name": "query"})
    )
    assert info(tmp_path, "embedding") == EncoderInfo(
        96, 90, pooling=("cls", "mean"), prompt="query: ", lower_case=True
    )
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 9000}))
    assert info(tmp_path, "embedding").max_tokens == 128  # there are no positions for more
    (tmp_path / "sentence_bert_config.json").unlink()
    (tmp_path / "sentence_roberta_config.json").write_text(json.dumps({"max_seq_length": 70}))
    assert info(tmp_path, "embedding").max_tokens == 70
    (tmp_path / "sentence_roberta_config.json").write_text(json.dumps({"max_seq_length": 0}))
    with pytest.raises(CheckpointError, match="max_seq_length"):
        info(tmp_path, "embedding")


@pytest.mark.parametrize(
    ("modules", "pooling", "complaint"),
    [
        ([*MODULES[:2], {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}], {}, "'Dense'"),
        (MODULES[:1], {}, "no Pooling"),
        (MODULES, {"pooling_mode_attention": True}, "no pooling that is known"),
        ([{"type": "sentence_transformers.models.Pooling", "path": "../.."}], {}, "not inside"),
        ([{"type": "sentence_transformers.models.Pooling", "path": "gone"}], {}, "cannot be read"),
        (["Pooling"], {}, "no list of modules"),
    ],
)
def test_a_sentence_model_that_cannot_be_served_says_why(
    modules: list[Any], pooling: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    write_encoder("bert", tmp_path)
    write_sentence_files(tmp_path, modules, **{"pooling_mode_cls_token": False, **pooling})
    if complaint in ("'Dense'",):
        write_sentence_files(tmp_path, modules, pooling_mode_cls_token=True)
    with pytest.raises(CheckpointError, match=complaint):
        info(tmp_path, "embedding")
