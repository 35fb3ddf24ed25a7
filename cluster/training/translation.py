"""Translators: from scratch (Marian), or further training of any encoder-decoder model that transformers loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cluster.training.batches import in_order
from cluster.training.data import digest, read_lines, read_pairs
from cluster.training.folders import attention, copy_tokenizer, folder_digest, require_model_folder, stored_as
from cluster.training.losses import token_loss
from cluster.training.padding import padded
from cluster.training.recipe import Recipe, RunFolder, Store
from cluster.training.task import Batch
from cluster.training.teachers import Teacher, teacher_translations
from cluster.training.translating import positions_of, set_languages, translate_all, translation_quality
from cluster.training.vocabulary import train_pieces, write_marian_tokenizer
from engine.errors import ConfigError

IGNORED = -100


@dataclass(frozen=True, slots=True)
class MarianSize:
    """Shape of a translator trained from scratch."""

    vocabulary: int = 6000
    width: int = 256
    feed_forward: int = 512
    heads: int = 4
    encoder_layers: int = 4
    decoder_layers: int = 2
    dropout: float = 0.3
    longest: int = 256  # positions


@dataclass(frozen=True, slots=True)
class TranslationTask:
    """`base` is a folder to go on from; without one, a model of `size` is trained from scratch.

    Pairs with a side of more than `longest_example` tokens are left out of training.
    """

    recipe: Recipe
    source: Path
    target: Path
    valid: tuple[Path, Path] | None = None
    test: tuple[Path, Path] | None = None
    languages: tuple[str, str] = ("en", "de")
    size: MarianSize = MarianSize()
    base: Path | None = None
    smoothing: float = 0.1
    longest_example: int = 128
    teacher: Teacher | None = None
    translate_every: int = 5  # epochs between translations of the validation data; 0: never
    store: Store = "bf16"
    name: str = "translator"

    def check(self) -> None:
        for pair in self._pairs().values():
            read_pairs(*pair)
        if self.base is not None:
            require_model_folder(self.base)
        if self.teacher is not None:
            self.teacher.check()

    def identity(self) -> dict[str, Any]:
        data = {
            f"{part}_{side}": digest(path)
            for part, pair in self._pairs().items()
            for side, path in zip(("source", "target"), pair, strict=True)
        }
        return {
            "task": self.name,
            **asdict(self.recipe),
            **({"base": folder_digest(self.base)} if self.base else asdict(self.size)),
            "smoothing": self.smoothing,
            "languages": list(self.languages),
            "longest_example": self.longest_example,
            "teacher": self.teacher.identity() if self.teacher else None,
            **data,
        }

    def prepare(self, run: RunFolder, device: torch.device) -> None:
        sources, targets = read_pairs(self.source, self.target)
        if self.teacher is not None:
            targets = teacher_translations(self.teacher, sources, run.prepared, device, self.languages)
        folder = self._tokenizer_folder(run)
        if self.base is not None or (folder / "tokenizer_config.json").exists():
            return
        pieces = train_pieces(
            [*sources, *targets], self.size.vocabulary - 1, seed=self.recipe.seed
        )  # <pad> comes to it
        source_lang, target_lang = self.languages
        write_marian_tokenizer(
            folder, pieces, source_lang=source_lang, target_lang=target_lang, longest=self.size.longest
        )

    def setup(self, run: RunFolder) -> PreparedTranslation:
        sources, targets = read_pairs(self.source, self.target)
        if self.teacher is not None:
            # Read from the file that `prepare` wrote. What the teacher left empty teaches nothing.
            targets = teacher_translations(self.teacher, sources, run.prepared, torch.device("cpu"), self.languages)
            sources, targets = _without_empty(sources, targets)
        return PreparedTranslation(self, self._tokenizer_folder(run), sources, targets)

    def _tokenizer_folder(self, run: RunFolder) -> Path:
        return self.base or run.prepared / "tokenizer"

    def _pairs(self) -> dict[str, tuple[Path, Path]]:
        named = {"train": (self.source, self.target), "valid": self.valid, "test": self.test}
        return {name: pair for name, pair in named.items() if pair is not None}


class PreparedTranslation:
    """Model, tokenizer and encoded pairs."""

    def __init__(self, task: TranslationTask, tokenizer_folder: Path, sources: list[str], targets: list[str]) -> None:
        from transformers import AutoTokenizer

        self.task = task
        self._tokenizer_folder = tokenizer_folder
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
        set_languages(self._tokenizer, task.languages)
        torch.manual_seed(task.recipe.seed)
        self.model = _new_model(task.size, self._tokenizer) if task.base is None else _model_of(task.base)
        self._pad = int(self._tokenizer.pad_token_id)
        self._start = int(self.model.config.decoder_start_token_id)
        encoded = zip(*self._encode(sources, targets), strict=True)
        longest = min(task.longest_example, positions_of(self.model))
        self._pairs = [pair for pair in encoded if max(map(len, pair)) <= longest]
        if not self._pairs:
            raise ConfigError(f"Every pair has more than {longest} tokens.", param="longest")
        self.lengths = [max(map(len, pair)) for pair in self._pairs]
        self._valid = []
        if task.valid is not None:
            encoded = zip(*self._encode(*read_pairs(*task.valid)), strict=True)
            self._valid = [pair for pair in encoded if max(map(len, pair)) <= positions_of(self.model)]

    def collate(self, indices: Sequence[int]) -> Batch:
        return self._collate([self._pairs[index] for index in indices])

    def count(self, indices: Sequence[int]) -> int:
        return sum(len(self._pairs[index][1]) for index in indices)

    def loss(self, batch: Batch) -> torch.Tensor:
        return self._loss(batch, self.task.smoothing)

    def after_backward(self) -> None:
        """A new Marian model's padding row stays zero: decoding starts from it, and converters count on that."""
        if self.task.base is None:
            gradient = self.model.get_input_embeddings().weight.grad
            if gradient is not None:
                gradient[self._pad] = 0

    def validate(self, device: torch.device, epoch: int) -> dict[str, float]:
        if not self._valid:
            return {}
        lengths = [max(map(len, pair)) for pair in self._valid]
        total, count = 0.0, 0
        for micro in in_order(lengths, self.task.recipe.micro_batch, "tokens"):
            pairs = [self._valid[index] for index in micro]
            batch = {name: tensor.to(device) for name, tensor in self._collate(pairs).items()}
            total += float(self._loss(batch, 0.0))
            count += sum(len(target) for _, target in pairs)
        found = {"valid_loss": total / count}
        every = self.task.translate_every
        if every and (epoch + 1) % every == 0 and self.task.valid:
            sources, references = read_pairs(*self.task.valid)
            found |= {
                f"valid_{name}": value
                for name, value in translation_quality(
                    translate_all(self.model, self._tokenizer, sources, device=device), references
                ).items()
            }
        return found

    def export(self, folder: Path) -> None:
        self.model.to(stored_as(self.task.store)).save_pretrained(folder)
        copy_tokenizer(self._tokenizer_folder, folder)

    def evaluate(self, folder: Path) -> dict[str, float]:
        """sacrebleu's BLEU and chrF of greedy translations of the test data."""
        if self.task.test is None:
            return {}
        from transformers import AutoTokenizer

        model, tokenizer = _model_of(folder), AutoTokenizer.from_pretrained(folder)
        set_languages(tokenizer, self.task.languages)
        sources, references = read_lines(self.task.test[0]), read_lines(self.task.test[1])
        with torch.no_grad():
            return translation_quality(
                translate_all(model.eval(), tokenizer, sources, device=torch.device("cpu")), references
            )

    def _encode(self, sources: list[str], targets: list[str]) -> tuple[list[list[int]], list[list[int]]]:
        return self._tokenizer(sources)["input_ids"], self._tokenizer(text_target=targets)["input_ids"]

    def _collate(self, pairs: Sequence[tuple[list[int], list[int]]]) -> Batch:
        source = padded([left for left, _ in pairs], self._pad)
        labels = padded([right for _, right in pairs], IGNORED)
        shifted = padded([[self._start, *right[:-1]] for _, right in pairs], self._pad)
        # What is behind a row's end only attends, causally: nothing real attends to it.
        return {
            "input_ids": source,
            "attention_mask": padded([[1] * len(left) for left, _ in pairs], 0),
            "decoder_input_ids": shifted,
            "labels": labels,
        }

    def _loss(self, batch: Batch, smoothing: float) -> torch.Tensor:
        """B: sentences, T: target tokens, V: vocabulary."""
        labels = batch["labels"]  # (B, T)
        logits = self.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=batch["decoder_input_ids"],
            use_cache=False,
        ).logits  # (B, T, V)
        real = labels != IGNORED
        return token_loss(logits[real], labels[real], smoothing=smoothing)


def _new_model(size: MarianSize, tokenizer: Any) -> Any:
    from transformers import MarianConfig, MarianMTModel

    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    config = MarianConfig(
        vocab_size=len(tokenizer.get_vocab()),
        d_model=size.width,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=size.feed_forward,
        decoder_ffn_dim=size.feed_forward,
        dropout=size.dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        activation_function="relu",
        max_position_embeddings=size.longest,
        scale_embedding=True,
        static_position_embeddings=True,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
        pad_token_id=pad,
        eos_token_id=eos,
        forced_eos_token_id=eos,
        decoder_start_token_id=pad,
        attn_implementation=attention(),
    )
    model = MarianMTModel(config)
    with torch.no_grad():
        model.get_input_embeddings().weight[pad] = 0
    model.generation_config.max_length = size.longest
    model.generation_config.num_beams = 1
    return model


def _model_of(folder: Path) -> Any:
    from transformers import AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention())


def _without_empty(sources: list[str], targets: list[str]) -> tuple[list[str], list[str]]:
    kept = [index for index, text in enumerate(targets) if text.strip()]
    return [sources[index] for index in kept], [targets[index] for index in kept]
