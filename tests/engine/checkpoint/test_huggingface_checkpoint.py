"""Folders as transformers writes them, and folders with something wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.checkpoint import open_checkpoint
from engine.errors import CheckpointError
from tests.engine.checkpoint.small_models import small_model

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_model("llama").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def read_all(path: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    with open_checkpoint(path) as checkpoint:
        return {name: checkpoint.tensor(name, dtype) for name in checkpoint.names()}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == dtype
        assert found[name].is_contiguous()
        assert torch.equal(found[name], tensor.to(dtype)), name


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gpt2"])
@pytest.mark.parametrize("stored", DTYPES)
def test_tensors_equal_the_state_dict(tmp_path: Path, family: str, stored: torch.dtype) -> None:
    model = small_model(family, tie_word_embeddings=False).to(stored)
    model.save_pretrained(tmp_path)
    for dtype in DTYPES:
        assert_equal(read_all(tmp_path, dtype), model.state_dict(), dtype)


def test_several_files(tmp_path: Path) -> None:
    model = small_model("llama")
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert_equal(read_all(tmp_path, torch.float32), model.state_dict(), torch.float32)


def test_large_tensors_are_read_in_chunks(tmp_path: Path) -> None:
    # 9 MiB, at an odd address within the file.
    tensors = {"a": torch.ones(3, dtype=torch.uint8), "b": torch.randn(1031, 2203, dtype=torch.float32)}
    (tmp_path / "config.json").write_text("{}")
    save_file(tensors, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        assert torch.equal(checkpoint.tensor("b", torch.float32), tensors["b"])
        assert torch.equal(checkpoint.tensor("b", torch.bfloat16), tensors["b"].bfloat16())
        assert checkpoint.tensor("a", torch.int64).tolist() == [1, 1, 1]


def test_scalars_and_empty_tensors(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    save_file({"scalar": torch.tensor(2.5), "empty": torch.empty(0, 4)}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.tensor("scalar", torch.float16).item() == 2.5
        assert checkpoint.tensor("empty", torch.float32).shape == (0, 4)


def test_the_articles_transformer(tmp_path: Path) -> None:
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    state = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).state_dict()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "optimized_transformer", "d_model": 32}))
    save_file(state, tmp_path / "model.safetensors")
    assert_equal(read_all(tmp_path, torch.float32), state, torch.float32)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config["model_type"] == "optimized_transformer"
        assert checkpoint.generation_config == {}


def test_config_shapes_and_lifetime(folder: Path) -> None:
    expected = json.loads((folder / "config.json").read_text())
    with open_checkpoint(str(folder)) as checkpoint:
        assert checkpoint.config == expected
        assert checkpoint.generation_config["eos_token_id"] == 2
        assert checkpoint.shape("model.embed_tokens.weight") == (96, 64)
        kept = checkpoint.tensor("model.norm.weight", torch.float32)
        kept += 1  # own memory: writable, and not shared with the next read
        assert not torch.equal(checkpoint.tensor("model.norm.weight", torch.float32), kept)
    assert kept.sum().isfinite()  # still valid after closing


def test_tied_heads_are_stored_once(tmp_path: Path) -> None:
    small_model("llama", tie_word_embeddings=True).save_pretrained(tmp_path)
    with open_checkpoint(tmp_path) as checkpoint:
        assert "lm_head.weight" not in checkpoint.names()


def test_unknown_tensor_names_the_nearest(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint:
        with pytest.raises(CheckpointError, match=r"Nearest: .*model\.layers\.0\.self_attn\.q_proj\.weight"):
            checkpoint.tensor("layers.0.self_attn.q_proj.weight", torch.float32)
        with pytest.raises(CheckpointError, match="no tensor"):
            checkpoint.shape("nothing like it")


def test_a_shape_that_differs_is_refused(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.tensor("model.norm.weight", torch.float32, shape=(64,)).shape == (64,)
        with pytest.raises(CheckpointError, match=r"shape \(64,\) where the configuration asks for \(65,\)"):
            checkpoint.tensor("model.norm.weight", torch.float32, shape=[65])


def write_index(folder: Path, weight_map: Any) -> None:
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("file", ["../part.safetensors", "/etc/passwd", "a/../../part.safetensors", "", "c:\\x", "a\0"])
def test_an_index_cannot_leave_the_folder(folder: Path, file: str) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "part.safetensors")
    write_index(folder, {"model.norm.weight": file})
    with pytest.raises(CheckpointError, match="not inside the model's folder"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"model.norm.weight": "absent.safetensors"}, "which is missing"),
        ({"of.another.model": "part.safetensors"}, "none of that name"),
        ({"model.norm.weight": 3}, "no valid weight_map"),
        ([], "no valid weight_map"),
    ],
)
def test_wrong_indexes(folder: Path, weight_map: Any, message: str) -> None:
    write_index(folder, weight_map)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model at"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        open_checkpoint(tmp_path)
    (tmp_path / "small.gguf").touch()
    with pytest.raises(CheckpointError, match=r"Name the GGUF file itself: .*small\.gguf"):
        open_checkpoint(tmp_path)


def test_a_weights_file_alone(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="Give its folder"):
        open_checkpoint(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "no valid JSON"), (b"[1]", "no JSON object"), (b"\xff", "UTF-8"), (b"[" * 200_000, "no valid JSON")],
)
def test_broken_config(folder: Path, content: bytes, message: str) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)


def test_pickles_are_not_loaded(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="neither"):
        open_checkpoint(folder)
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"never loaded.*save_pretrained"):
        open_checkpoint(folder)


def test_missing_tokenizer(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint, pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        checkpoint.tokenizer()
