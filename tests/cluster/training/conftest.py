"""Tiny models and data: seconds, not minutes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

GERMAN = {
    "the": "die",
    "a": "eine",
    "cat": "Katze",
    "dog": "Hund",
    "runs": "läuft",
    "sleeps": "schläft",
    "red": "rot",
    "blue": "blau",
    "big": "groß",
    "small": "klein",
    "house": "Haus",
    "tree": "Baum",
}
WORDS = list(GERMAN)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT folder without a head: three layers, random weights."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train.csv` and `test.csv`: whether the text speaks of a cat."""
    folder = tmp_path_factory.mktemp("texts")
    draw = random.Random(0)
    for name, rows in (("train", 120), ("test", 40)):
        lines = ["text,label"]
        for _ in range(rows):
            words = [draw.choice(WORDS) for _ in range(draw.randint(2, 8))]
            lines.append(f"{' '.join(words)},{'cat' if 'cat' in words else 'other'}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train`, `valid` and `test` as .en and .de: a translation word by word."""
    folder = tmp_path_factory.mktemp("pairs")
    draw = random.Random(1)
    for name, rows in (("train", 150), ("valid", 20), ("test", 20)):
        lines = [[draw.choice(WORDS) for _ in range(draw.randint(2, 7))] for _ in range(rows)]
        (folder / f"{name}.en").write_text("".join(" ".join(words) + "\n" for words in lines))
        (folder / f"{name}.de").write_text("".join(" ".join(GERMAN[word] for word in words) + "\n" for words in lines))
    return folder
