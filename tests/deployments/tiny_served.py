"""Small random models of every task with their tokenizers, and a configuration that names them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, trainers

from deployments.settings import Task
from engine.kernels.build import cache_folder
from tests.engine import tiny, tiny_encoders, tiny_seq2seq
from tests.engine.text.small_tokenizers import byte_level
from tests.engine.text.small_translators import ENGLISH, GERMAN, write_marian

LABELS = ["red", "green", "blue", "grey"]


def own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache for this test alone, but for the compiled kernels."""
    kernels = cache_folder()
    kernels.mkdir(parents=True, exist_ok=True)
    (folder / "cache").mkdir()
    (folder / "cache" / "kernels").symlink_to(kernels)
    monkeypatch.setenv("STAGELINE_CACHE", str(folder / "cache"))


def write_model(task: Task, folder: Path) -> Path:
    """A model for the task in `folder`."""
    match task:
        case "text-generation":
            tiny.write_checkpoint("llama-large-vocabulary", folder)
            byte_level().backend.save(str(folder / "tokenizer.json"))
        case "text-classification":
            names = {str(i): label for i, label in enumerate(LABELS)}
            tiny_encoders.write_encoder("bert", folder, "AutoModelForSequenceClassification", id2label=names)
            words().save(str(folder / "tokenizer.json"))
        case "embedding":
            tiny_encoders.write_encoder("bert", folder)
            words().save(str(folder / "tokenizer.json"))
        case "translation":
            write_marian(folder, source_lang="en", target_lang="de")
            size = len(json.loads((folder / "vocab.json").read_text()))
            ids: dict[str, Any] = {
                "pad_token_id": size - 1,
                "decoder_start_token_id": size - 1,
                "bad_words_ids": [[size - 1]],
            }
            tiny_seq2seq.write_checkpoint(
                "marian", folder, vocab_size=size, decoder_vocab_size=size, max_length=24, **ids
            )
    return folder


def words() -> Backend:
    """A tokenizer of fewer tokens than the small encoders have."""
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=120, show_progress=False, special_tokens=["[UNK]"])
    backend.train_from_iterator(ENGLISH, trainer)
    return backend


def write_data(task: Task, folder: Path) -> tuple[Path, Path | None]:
    """Data to measure on, and references where the task has them."""
    path = folder / {"text-classification": "data.csv"}.get(task, "data.txt")
    lines = ENGLISH * 3
    if task == "text-classification":
        rows = [f'"{line}",{LABELS[i % 4]}' for i, line in enumerate(lines)]
        path.write_text("\n".join(["text,label", *rows]) + "\n")
        return path, None
    path.write_text("\n".join(lines) + "\n")
    if task != "translation":
        return path, None
    reference = folder / "data.de"
    reference.write_text("\n".join(GERMAN * 3) + "\n")
    return path, reference


def write_config(task: Task, folder: Path, source: Path, *variants: str, more: str = "") -> Path:
    """A configuration of one model "tiny"; variants in YAML."""
    path = folder / "stageline.yaml"
    listed = ", ".join(variants or ("{precision: bf16}",))
    path.write_text(f"models: [{{name: tiny, task: {task}, source: {source}, variants: [{listed}]{more}}}]\n")
    return path
