"""Names for what a thread is at, as a profile shows them. While none is taken, a span costs the look at a flag."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch.profiler import record_function

_NOTHING = nullcontext()
_recording = False


def span(name: str) -> AbstractContextManager[object]:
    """What is done within is shown by this name."""
    return record_function(name) if _recording else _NOTHING


def record(on: bool) -> None:
    """Begins or ends showing spans. Whoever takes a profile calls this; those that are open already are not shown."""
    global _recording
    _recording = on
