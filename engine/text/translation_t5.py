"""T5's tokens: what to do is said in words before the text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentencepiece import SentencePieceProcessor

from engine.checkpoint import Checkpoint
from engine.text.languages import language_name
from engine.text.sentencepiece_files import load_pieces
from engine.text.tokenizer import Tokenizer

Pair = tuple[str, str]

_TASK = re.compile(r"translation_(\w{2,3})_to_(\w{2,3})")


class Pieces:
    """A spiece.model alone, used as its tokenizer.json would be: an end token follows, sentinels are left out."""

    def __init__(self, processor: SentencePieceProcessor) -> None:
        self.processor = processor

    def encode(self, text: str) -> list[int]:
        return [*self.processor.encode(text), self.processor.eos_id()]

    def decode(self, tokens: Sequence[int]) -> str:
        special = (self.processor.pad_id(), self.processor.eos_id(), self.processor.unk_id())
        size = self.processor.get_piece_size()
        text: str = self.processor.decode([token for token in tokens if token < size and token not in special])
        return text


@dataclass(frozen=True)
class T5Codec:
    prefixes: dict[Pair, str]
    tokenizer: Tokenizer | Pieces

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return tuple(self.prefixes)

    def encode(self, text: str, source: str, target: str) -> tuple[list[int], int | None]:
        return self.tokenizer.encode(self.prefixes[source, target] + text), None

    def encode_target(self, text: str, source: str, target: str) -> list[int]:
        return self.tokenizer.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens).strip()


def open_codec(checkpoint: Checkpoint, pairs: tuple[Pair, ...] | None, prefix: str | None) -> T5Codec:
    """Reads tokenizer.json or spiece.model; pairs and prefixes are config.json's `task_specific_params`.

    For other pairs the prefix is made after the same pattern, from the languages' names in English.
    """
    known = _tasks(checkpoint.config.get("task_specific_params"))
    if pairs is not None:
        known = {pair: known.get(pair, _usual_prefix(*pair)) for pair in pairs}
    if prefix is not None:
        known = dict.fromkeys(known, prefix)
    folder = checkpoint.path
    if (folder / "spiece.model").exists() and not (folder / "tokenizer.json").exists():
        return T5Codec(known, Pieces(load_pieces(folder / "spiece.model")))
    return T5Codec(known, checkpoint.tokenizer())


def _usual_prefix(source: str, target: str) -> str:
    return f"translate {language_name(source)} to {language_name(target)}: "


def _tasks(tasks: object) -> dict[Pair, str]:
    found: dict[Pair, str] = {}
    for name, task in tasks.items() if isinstance(tasks, Mapping) else ():
        match = _TASK.fullmatch(name)
        if match and isinstance(task, Mapping) and isinstance(task.get("prefix"), str):
            found[match[1], match[2]] = task["prefix"]
    return found
