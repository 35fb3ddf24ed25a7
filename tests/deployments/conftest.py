from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is written to standard error; afterwards logging is as it was."""
    root, ours = (
        logging.getLogger(),
        [logging.getLogger(name) for name in ("deployments", "cluster", "engine", "stageline")],
    )
    handlers, levels = list(root.handlers), [one.level for one in ours]
    stream = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", stream)
    yield stream
    root.handlers[:] = handlers
    for one, level in zip(ours, levels, strict=True):
        one.setLevel(level)
