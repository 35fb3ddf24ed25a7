"""The demo model, a real quantized file, against transformers' reading of it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import transformers

from engine.checkpoint import open_checkpoint
from engine.text.chat_template import render
from tests.engine.demo_model import demo_gguf
from tests.engine.text.small_tokenizers import SAMPLES

pytestmark = pytest.mark.model


def from_transformers(kind: Any, **options: Any) -> Any:
    path = demo_gguf()
    return kind.from_pretrained(path.parent, gguf_file=path.name, **options)


def test_every_tensor_equals_transformers() -> None:
    theirs = from_transformers(transformers.AutoModelForCausalLM, dtype=torch.float32).state_dict()
    with open_checkpoint(demo_gguf()) as checkpoint:
        assert checkpoint.names() == set(theirs) - {"lm_head.weight"}
        for name in checkpoint.names():
            assert torch.equal(checkpoint.tensor(name, torch.float32), theirs[name]), name


def test_config_equals_transformers() -> None:
    theirs = from_transformers(transformers.AutoConfig)
    with open_checkpoint(demo_gguf()) as checkpoint:
        config = checkpoint.config
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"):
        assert config[key] == getattr(theirs, key)
    for key in ("head_dim", "vocab_size", "max_position_embeddings", "tie_word_embeddings", "model_type"):
        assert config[key] == getattr(theirs, key)
    assert config["rms_norm_eps"] == pytest.approx(theirs.rms_norm_eps)
    assert config["rope_theta"] == theirs.rope_parameters["rope_theta"]
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, 2)


def single_digits(text: str) -> bool:
    """Whether transformers, which cuts no digits when it reads a GGUF file, can agree on this text."""
    return not any(a.isnumeric() or b.isnumeric() for a, b in itertools.pairwise(text))


def test_tokenizer_equals_transformers() -> None:
    theirs = from_transformers(transformers.AutoTokenizer)
    with open_checkpoint(demo_gguf()) as checkpoint:
        ours = checkpoint.tokenizer()
    assert ours.vocab_size == 49152
    texts = [text for text in [*SAMPLES, "<|im_start|>user\nHi<|im_end|>\n"] if single_digits(text)]
    assert len(texts) > 12
    for text in texts:
        assert ours.encode(text) == theirs.encode(text), text
        assert ours.decode(ours.encode(text), skip_special_tokens=False) == text
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text), skip_special_tokens=True)


def test_digits_are_cut_singly_as_in_the_models_own_tokenizer() -> None:
    with open_checkpoint(demo_gguf()) as checkpoint:
        tokenizer = checkpoint.tokenizer()
    pieces = [tokenizer.token_text(token) for token in tokenizer.encode("In 1984 12345")]
    assert pieces == ["In", " ", "1", "9", "8", "4", " ", "1", "2", "3", "4", "5"]


def test_chat_template_equals_transformers() -> None:
    theirs = from_transformers(transformers.AutoTokenizer)
    with open_checkpoint(demo_gguf()) as checkpoint:
        ours = checkpoint.tokenizer()
    assert ours.chat_template is not None
    chat = [{"role": "user", "content": "What is gravity?"}]
    text = render(ours.chat_template, chat, special_tokens=ours.special_tokens)
    assert text == theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|im_start|>assistant\n")
    assert ours.special_tokens["eos_token"] == "<|im_end|>"
