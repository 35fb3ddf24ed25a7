"""Where tests find the demo model. They never fetch it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def demo_gguf() -> Path:
    """The demo model's file, from STAGELINE_DEMO_GGUF or the cache folder; skips the test if it is in neither."""
    named = os.environ.get("STAGELINE_DEMO_GGUF")
    if named:
        return Path(named)
    for found in sorted((Path.home() / ".cache" / "stageline").glob(f"**/{_NAME}")):
        if found.is_file():  # a folder of the cache has the same name
            return found
    pytest.skip(f"{_NAME} is not on this machine: `make serve` fetches it, or set STAGELINE_DEMO_GGUF to its path")
