"""Reading the JSON files of a model's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError
from engine.plain_files import read_plain


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in the file. Raises `CheckpointError` if there is none."""
    value = json_of(path, read_text(path))
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object. Fetch it again.")
    return value


def read_text(path: Path) -> str:
    """The file's text. Raises `CheckpointError` if it cannot be read or is no UTF-8."""
    try:
        return read_plain(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is no UTF-8 text ({error.reason} at byte {error.start}).") from None


def json_of(path: Path, text: str) -> Any:
    """The value of `text`, which came from `path`. Raises `CheckpointError` if it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no valid JSON ({error}). Fetch it again.") from None
