"""What goes into the encoder's engine and what comes out: plain, frozen, picklable data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EncodeRequest:
    """One text, special tokens included. `types` are segment ids parallel to `tokens`; empty means all 0.

    `arrival_s` and `deadline_s` are `time.time()` seconds. A lower `priority` runs first; within one, first come first
    served.
    """

    id: str
    tokens: tuple[int, ...]
    types: tuple[int, ...] = ()
    priority: int = 0
    arrival_s: float = 0.0
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """The end of a request: `values` fp32, the raw class scores (labels,) or the embedding (width,); or an `error`.

    `queue_s` and `run_s` are the seconds until its batch began and those of its batch.
    """

    values: NDArray[np.float32] | None = None
    queue_s: float = 0.0
    run_s: float = 0.0
    error: Exception | None = None

    @property
    def finished(self) -> bool:
        """Always: a text is answered whole."""
        return True
