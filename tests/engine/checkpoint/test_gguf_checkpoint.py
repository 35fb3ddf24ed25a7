"""GGUF files that `gguf.GGUFWriter` wrote give back the model that went in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType as Kind

from engine.checkpoint import open_checkpoint
from engine.errors import CheckpointError
from tests.engine.checkpoint.small_models import small_model, write_gguf

FAMILIES = ["llama", "qwen2", "qwen3", "gpt2"]


def expected(model: Any) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = model.state_dict()
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight")
    return state


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [Kind.F32, Kind.F16, Kind.BF16])
@pytest.mark.parametrize("tied", [True, False])
def test_plain_types_are_exact(tmp_path: Path, family: str, kind: Kind, tied: bool) -> None:
    stored = {Kind.F32: torch.float32, Kind.F16: torch.float16, Kind.BF16: torch.bfloat16}[kind]
    model = small_model(family, tie_word_embeddings=tied)
    with open_checkpoint(write_gguf(tmp_path / "m.gguf", model, kind=kind)) as checkpoint:
        assert checkpoint.names() == set(expected(model))
        assert checkpoint.config["tie_word_embeddings"] is tied
        for name, tensor in expected(model).items():
            rounded = tensor.to(stored) if tensor.ndim == 2 else tensor
            assert checkpoint.shape(name) == tensor.shape
            for dtype in (torch.float32, torch.bfloat16):
                found = checkpoint.tensor(name, dtype)
                assert found.is_contiguous()
                assert found.dtype == dtype
                assert torch.equal(found, rounded.to(dtype)), name


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0])
def test_quantized_types(tmp_path: Path, family: str, kind: Kind) -> None:
    model = small_model(family)
    path = write_gguf(tmp_path / "m.gguf", model, kind=kind)
    steps = {Kind.Q8_0: 255, Kind.Q5_0: 31, Kind.Q5_1: 31}.get(kind, 15)
    with open_checkpoint(path) as checkpoint:
        for name, tensor in expected(model).items():
            error = (checkpoint.tensor(name, torch.float32) - tensor).abs().max().item()
            assert error <= (2 * tensor.abs().max().item() / steps) * 1.1, name


def test_large_quantized_tensors_are_read_in_chunks(tmp_path: Path) -> None:
    model = small_model("llama", vocab_size=70_000, tie_word_embeddings=False)
    path = write_gguf(tmp_path / "m.gguf", model, kind=Kind.Q8_0)
    weight = model.state_dict()["lm_head.weight"].numpy()
    whole = torch.from_numpy(gguf.dequantize(gguf.quantize(weight, Kind.Q8_0), Kind.Q8_0))
    with open_checkpoint(path) as checkpoint:
        assert torch.equal(checkpoint.tensor("lm_head.weight", torch.float32), whole)


@pytest.mark.parametrize("kind", [Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.IQ4_NL, Kind.IQ2_XXS])
def test_types_that_gguf_only_dequantizes(tmp_path: Path, kind: Kind) -> None:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    packed = np.random.default_rng(0).integers(0, 255, (3, 2 * size), dtype=np.uint8)
    packed.view(np.uint8)[:, -1] = 0  # keeps the 16-bit scales at the block's end finite
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    for name in ("context_length", "embedding_length", "feed_forward_length", "block_count", "attention.head_count"):
        writer.add_uint32(f"llama.{name}", 1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tensor("token_embd.weight", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_checkpoint(tmp_path / "x.gguf") as checkpoint:
        assert checkpoint.shape("model.embed_tokens.weight") == (3, 2 * block)
        found = checkpoint.tensor("model.embed_tokens.weight", torch.float32)
    assert np.array_equal(found.numpy(), gguf.dequantize(packed, kind), equal_nan=True)


def test_biases_of_the_llama_architecture_are_reordered_too(tmp_path: Path) -> None:
    model = small_model("llama", attention_bias=True, mlp_bias=True)
    with open_checkpoint(write_gguf(tmp_path / "m.gguf", model)) as checkpoint:
        assert checkpoint.config["attention_bias"] is True
        assert checkpoint.config["mlp_bias"] is True
        for name, tensor in expected(model).items():
            assert torch.equal(checkpoint.tensor(name, torch.float32), tensor), name


@pytest.mark.parametrize("family", FAMILIES)
def test_config_makes_the_same_model(tmp_path: Path, family: str) -> None:
    """transformers, given our config and tensors, computes what the original model computes."""
    model = small_model(family, tie_word_embeddings=False)
    with open_checkpoint(write_gguf(tmp_path / "m.gguf", model)) as checkpoint:
        config = transformers.AutoConfig.for_model(**checkpoint.config)
        again = getattr(transformers, checkpoint.config["architectures"][0])(config).eval()
        again.load_state_dict({name: checkpoint.tensor(name, torch.float32) for name in checkpoint.names()})
    ids = torch.arange(20).view(1, -1)
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)


def test_config_values(tmp_path: Path) -> None:
    model = small_model("llama", rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 50000.0})
    ids = {"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 7, "tokenizer.ggml.eot_token_id": 9}
    with open_checkpoint(write_gguf(tmp_path / "m.gguf", model, metadata=ids)) as checkpoint:
        config = checkpoint.config
        assert checkpoint.generation_config == {"eos_token_id": [7, 9]}
    assert config["rms_norm_eps"] == 1e-5
    assert config["rope_theta"] == 50000.0
    assert config["rope_scaling"] is None
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, [7, 9])
    assert (config["head_dim"], config["num_key_value_heads"], config["vocab_size"]) == (16, 2, 96)


def rope_scaling(tmp_path: Path, metadata: dict[str, Any], **tensors: Any) -> Any:
    path = write_gguf(tmp_path / "m.gguf", small_model("llama"), metadata=metadata, tensors=tensors)
    with open_checkpoint(path) as checkpoint:
        return checkpoint.config["rope_scaling"]


def test_linear_rope_scaling(tmp_path: Path) -> None:
    keys = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    assert rope_scaling(tmp_path, keys) == {"rope_type": "linear", "factor": 4.0}
    assert rope_scaling(tmp_path, {"llama.rope.scale_linear": 2.0}) == {"rope_type": "linear", "factor": 2.0}
    assert rope_scaling(tmp_path, {"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0}) is None
    assert rope_scaling(tmp_path, {"llama.rope.scaling.factor": 1.0}) is None


def test_yarn_rope_scaling(tmp_path: Path) -> None:
    keys = {
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 4.0,
        "llama.rope.scaling.original_context_length": 32,
        "llama.rope.scaling.yarn_beta_fast": 16.0,
    }
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 16.0}
    assert rope_scaling(tmp_path, keys) == scaling
    found = rope_scaling(tmp_path, keys | {"llama.rope.scaling.attn_factor": 0.5})
    assert found["attention_factor"] == pytest.approx(0.5 * (0.1 * math.log(4) + 1))


def test_llama3_rope_scaling_comes_as_a_tensor_of_factors(tmp_path: Path) -> None:
    factors = np.linspace(1, 8, 8, dtype=np.float32)
    path = write_gguf(tmp_path / "m.gguf", small_model("llama"), tensors={"rope_freqs.weight": factors})
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.config["rope_scaling"] is None
        assert checkpoint.tensor("rope_freqs.weight", torch.float32).tolist() == factors.tolist()


def test_rotary_tables_of_old_files_are_passed_over(tmp_path: Path) -> None:
    tables = {"blk.0.attn_rot_embd.weight": np.zeros(8, np.float32)}
    with open_checkpoint(write_gguf(tmp_path / "m.gguf", small_model("llama"), tensors=tables)) as checkpoint:
        assert checkpoint.names() == set(expected(small_model("llama")))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"llama.rope.scaling.type": "longrope"}, "'longrope'; known are linear and yarn"),
        ({"llama.expert_count": 8}, "mixture of experts"),
        ({"llama.rope.dimension_count": 8}, "only a part of each head"),
        ({"split.count": 3}, "llama-gguf-split --merge"),
        ({"llama.attention.key_length": 8}, "heads of 8 rows"),
        ({"llama.attention.head_count_kv": 3}, "do not fit together"),
        ({"llama.rope.scaling.factor": "four"}, r"llama\.rope\.scaling\.factor is four"),
    ],
)
def test_unsupported_metadata(tmp_path: Path, metadata: dict[str, Any], message: str) -> None:
    path = write_gguf(tmp_path / "m.gguf", small_model("llama"), metadata=metadata)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def test_unknown_architectures_and_tensors(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "mamba")
    writer.add_tensor("token_embd.weight", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match="architecture 'mamba'; supported in GGUF files: llama"):
        open_checkpoint(tmp_path / "a.gguf")
    experts = {"blk.0.ffn_gate_exps.weight": np.zeros((2, 2), np.float32)}
    path = write_gguf(tmp_path / "b.gguf", small_model("llama"), tensors=experts)
    with pytest.raises(CheckpointError, match=r"a tensor 'blk\.0\.ffn_gate_exps\.weight'"):
        open_checkpoint(path)


def test_unknown_tensor_names_the_nearest(tmp_path: Path) -> None:
    with (
        open_checkpoint(write_gguf(tmp_path / "m.gguf", small_model("llama"))) as checkpoint,
        pytest.raises(CheckpointError, match=r"Nearest: .*model\.norm\.weight"),
    ):
        checkpoint.tensor("model.norm.wieght", torch.float32)


def test_no_tokenizer(tmp_path: Path) -> None:
    with (
        open_checkpoint(write_gguf(tmp_path / "m.gguf", small_model("llama"))) as checkpoint,
        pytest.raises(CheckpointError, match="no tokenizer"),
    ):
        checkpoint.tokenizer()
