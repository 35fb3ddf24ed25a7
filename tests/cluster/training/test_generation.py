from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cluster.training.generation import GenerationTask
from cluster.training.recipe import Cadence, Recipe, RunFolder
from cluster.training.worker import Job, train
from cluster.training.world import World
from engine.errors import ConfigError


@pytest.fixture
def tiny_llama(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<unk>", *["one", "two", "three", "four", "five", "six"]])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "llama"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_generator_learns_to_count(tiny_llama: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    text = tmp_path / "text"
    text.write_text("one two three four five six\n" * 60)
    recipe = Recipe(epochs=6, batch=128, micro_batch=64, unit="tokens", learning_rate=1e-2, schedule="cosine")
    task = GenerationTask(recipe, tiny_llama, text, valid=text, test=text, row_tokens=20)
    task.check()
    quality = train(Job(task, RunFolder(tmp_path / "run"), Cadence(log_steps=1)), World())
    assert quality["perplexity"] < 1.5
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    rows = model.generate(**tokenizer("three", return_tensors="pt"), max_new_tokens=3, do_sample=False)
    assert tokenizer.decode(rows[0]).split() == ["three", "four", "five", "six"]


def test_text_too_short_to_learn_from(tiny_llama: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("one\n")
    recipe = Recipe(epochs=1, batch=8, micro_batch=8, unit="tokens", learning_rate=1e-2)
    task = GenerationTask(recipe, tiny_llama, tmp_path / "text")
    with pytest.raises(ConfigError, match="one token only"):
        task.setup(RunFolder(tmp_path))
    with pytest.raises(ConfigError, match="2 tokens at least"):
        GenerationTask(recipe, tiny_llama, tmp_path / "text", row_tokens=1).check()
