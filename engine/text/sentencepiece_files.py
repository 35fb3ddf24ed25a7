"""SentencePiece models and the vocabularies beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor

from engine.errors import CheckpointError
from engine.plain_files import read_plain
from engine.text.json_files import read_json_object


def load_pieces(path: Path) -> SentencePieceProcessor:
    """The model in the file; picklable. Raises CheckpointError where it is missing or damaged."""
    if not path.exists():
        raise CheckpointError(f"{path} is missing. Fetch the whole model.")
    content = read_plain(path)
    try:
        pieces = SentencePieceProcessor(model_proto=content)
        pieces.encode("a b")  # one of nothing is taken, and raises at every request
        return pieces
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} is no usable SentencePiece model: {error}. Fetch it again.") from None


def load_vocabulary(path: Path) -> dict[str, int]:
    """Pieces and their token ids. Raises CheckpointError."""
    found = read_json_object(path)
    if not all(type(token) is int and token >= 0 for token in found.values()):
        raise CheckpointError(f"{path} does not map pieces to token ids. Fetch it again.")
    return found


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, {} where there is none."""
    path = folder / "tokenizer_config.json"
    return read_json_object(path) if path.exists() else {}
