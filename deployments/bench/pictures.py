"""What the pictures of benchmarks need."""

from __future__ import annotations

import importlib.util

from engine.errors import ConfigError


def require_matplotlib() -> None:
    """Raise `ConfigError` where there is nothing to draw with."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("The picture needs matplotlib. Install it with: pip install 'stageline[train]'")
