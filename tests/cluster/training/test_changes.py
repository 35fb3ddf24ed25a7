from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cluster.training.changes import write_changes
from engine.checkpoint.merging import merge
from engine.errors import CheckpointError


@pytest.fixture
def tuned(tiny_bert: Path) -> Any:
    """A classifier on the tiny base, with its last layer and pooler changed."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=3, dtype=torch.float32)
    with torch.no_grad():
        model.bert.encoder.layer[2].output.dense.weight.add_(1)
        model.bert.pooler.dense.bias.add_(1)
    return model


def test_only_what_differs_is_stored_under_the_bases_names(tiny_bert: Path, tuned: Any, tmp_path: Path) -> None:
    write_changes(tuned, tiny_bert, tmp_path, torch.bfloat16)
    stored = load_file(tmp_path / "model.safetensors")
    assert set(stored) == {
        "classifier.weight",
        "classifier.bias",
        "encoder.layer.2.output.dense.weight",
        "pooler.dense.bias",
    }
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "config.json"}
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]


def test_base_and_changes_load_as_one_model(tiny_bert: Path, tuned: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    write_changes(tuned, tiny_bert, tmp_path / "changes", torch.float32)
    merge(tiny_bert, tmp_path / "changes", tmp_path / "merged")
    loaded, told = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "merged", dtype=torch.float32, output_loading_info=True
    )
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    torch.testing.assert_close(loaded.state_dict(), tuned.state_dict(), rtol=0, atol=0)
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")("the cat")["input_ids"][1] > 1


def test_a_base_without_safetensors_is_refused(tuned: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no \.safetensors file"):
        write_changes(tuned, tmp_path, tmp_path / "changes", torch.float32)
