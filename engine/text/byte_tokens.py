"""The bytes behind a token, for tokenizers whose decoding is a plain joining of bytes.

Byte-level BPE (GPT-2, Llama 3, Qwen) spells each byte as one printable character; SentencePiece BPE (Llama 2,
Mistral) writes a space as U+2581 and bytes outside its vocabulary as <0x00> to <0xFF>. Both allow decoding token by
token, which is what streaming needs. `TokenBytes.of` says whether a tokenizer is of one of these kinds.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal, Self

from tokenizers import Tokenizer as Backend

_SPACE = "\u2581"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 characters stand for themselves, the other bytes follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_ALPHABET = _byte_alphabet()


@dataclass(frozen=True, slots=True)
class TokenBytes:
    """How to turn a token's spelling into bytes; `strips_space`: a text's first space is not part of it."""

    spelling: Literal["byte_level", "sentencepiece"]
    strips_space: bool = False

    @classmethod
    def of(cls, backend: Backend) -> Self | None:
        """Recognize the decoder of a tokenizer; None for those that are not a plain joining of bytes."""
        if backend.decoder is None:
            return None
        decoder = json.loads(backend.decoder.__getstate__())
        parts: list[dict[str, Any]] = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
        if [part["type"] for part in parts] == ["ByteLevel"]:
            return cls("byte_level")
        match parts:
            case [{"type": "Replace", "content": " ", **replace}, {"type": "ByteFallback"}, {"type": "Fuse"}, *rest]:
                strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
                if replace.get("pattern") == {"String": _SPACE} and rest in ([], strip):
                    return cls("sentencepiece", strips_space=bool(rest))
        return None

    def encode(self, token: str) -> bytes:
        """The bytes of one token, given its spelling in the vocabulary."""
        if self.spelling == "byte_level":
            values = [_ALPHABET.get(character) for character in token]
            known = [value for value in values if value is not None]
            # Added tokens are spelled as they read, so one foreign character means that all is plain text.
            return bytes(known) if len(known) == len(values) else token.encode()
        match = _BYTE_TOKEN.fullmatch(token)
        return bytes([int(match[1], 16)]) if match else token.replace(_SPACE, " ").encode()
