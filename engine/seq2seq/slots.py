"""Which slots of the cache are free. A slot holds one token's keys and values; slots need not lie together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


class Slots:
    """A free list. Free and used slots together are always `total`."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._free: Ids = np.arange(total - 1, -1, -1, dtype=np.int32)  # a stack: its first `free` entries

    @property
    def free(self) -> int:
        return self.total - self.used

    def take(self, count: int) -> Ids | None:
        """That many free slots, or None where there are not so many."""
        if count > self.free:
            return None
        taken = self._free[self.free - count : self.free][::-1].copy()
        self.used += count
        return taken

    def give(self, slots: Ids) -> None:
        """Takes slots back that were taken and not given back since."""
        assert len(slots) <= self.used
        self._free[self.free : self.free + len(slots)] = slots[::-1]
        self.used -= len(slots)

    def check(self) -> None:
        """Asserts that no slot is free twice."""
        free = self._free[: self.free]
        assert len(np.unique(free)) == len(free) == self.total - self.used
        assert not len(free) or (free.min() >= 0 and free.max() < self.total)
