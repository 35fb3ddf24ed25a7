"""Models with a tokenizer.json that translate one pair of languages: text in, text out, nothing to ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.checkpoint import Checkpoint
from engine.text.languages import known_code
from engine.text.sentencepiece_files import tokenizer_settings
from engine.text.tokenizer import Tokenizer

Pair = tuple[str, str]


@dataclass(frozen=True)
class PlainCodec:
    pairs: tuple[Pair, ...]
    tokenizer: Tokenizer

    def encode(self, text: str, source: str, target: str) -> tuple[list[int], int | None]:
        return self.tokenizer.encode(text), None

    def encode_target(self, text: str, source: str, target: str) -> list[int]:
        return self.tokenizer.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens).strip()


def open_codec(checkpoint: Checkpoint, pairs: tuple[Pair, ...] | None) -> PlainCodec:
    """Reads tokenizer.json; languages from tokenizer_config.json."""
    if pairs is None:
        settings = tokenizer_settings(checkpoint.path)
        codes = [settings.get(key) for key in ("source_lang", "target_lang")]
        source, target = (known_code(code) if isinstance(code, str) else None for code in codes)
        pairs = ((source, target),) if source and target else ()
    return PlainCodec(pairs, checkpoint.tokenizer())
